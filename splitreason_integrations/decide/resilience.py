"""Trying again: which failures are worth it, how often and how long to wait, as tenacity says.

Values and arithmetic alone; the engine's loop does the waiting.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from splitreason_integrations.errors import ConfigurationError


def is_retryable(error: BaseException) -> bool:
    """Return whether the same call may succeed later: what the error says of itself, else by kind.

    Lost connections and time-outs are worth another try; anything else is not.
    """
    told = getattr(error, "retryable", None)
    return told if isinstance(told, bool) else isinstance(error, ConnectionError | TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a failing large model is tried again, and a small one whose server fails.

    Within one span a model is called `attempts` times at most, with a jittered wait in between
    that grows exponentially from `wait_s` up to `max_wait_s` seconds; where its server asks for a
    longer wait, it is not called again. A call that gives no token for `stall_s` seconds has failed
    (None waits for ever). After `breaker_failures` failed calls in a row a model is passed over for
    `breaker_cooldown_s` seconds, then probed by one request.
    """

    attempts: int = 3
    wait_s: float = 0.25
    max_wait_s: float = 8.0
    stall_s: float | None = 60.0
    breaker_failures: int = 5
    breaker_cooldown_s: float = 30.0
    retryable: Callable[[BaseException], bool] = is_retryable

    def __post_init__(self) -> None:
        for name in ("attempts", "breaker_failures"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_s") and value is not None and not value >= 0:
                raise ConfigurationError(f"{field.name} must be 0 or more seconds, got {value}")


class Attempts:
    """The calls of one large model within one span."""

    def __init__(self, retry: Retry) -> None:
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(retry.attempts),
            wait=wait_random_exponential(multiplier=retry.wait_s, max=retry.max_wait_s),
            retry=retry_if_exception(retry.retryable),
        )
        self._longest_s = retry.max_wait_s
        self._state = RetryCallState(self._retrying, fn=None, args=(), kwargs={})

    @property
    def count(self) -> int:
        """The number of the present call, from 1."""
        return self._state.attempt_number

    def wait_s(self, error: Exception, *, until_s: float | None) -> float | None:
        """Return how long to wait before the next call; None where there is to be none.

        `until_s` is the time of `time.monotonic()` at which a call would come too late.
        """
        state: Any = self._state
        state.set_exception((type(error), error, error.__traceback__))
        if not self._retrying.retry(state) or self._retrying.stop(state):
            return None
        asked = getattr(error, "retry_after_s", None) or 0.0
        wait = max(float(self._retrying.wait(state)), asked)
        if asked > self._longest_s:
            return None
        if until_s is not None and time.monotonic() + wait >= until_s:
            return None
        state.prepare_for_next_attempt()
        return wait


class Breaker:
    """Passes over a model that failed again and again; probes it after a while.

    Closed until `failures` calls in a row have failed; then open for `cooldown_s`; then one call
    is let through, and decides. A probe that never reports is followed by another one.
    """

    def __init__(self, *, failures: int, cooldown_s: float) -> None:
        self._failures = failures
        self._cooldown_s = cooldown_s
        self._lock = Lock()
        self._failed = 0
        self._shut_until_s = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether calls go through as usual."""
        return self._failed < self._failures

    def admits(self) -> bool:
        """Return whether a call may be made now; a probe is admitted once in a cooldown."""
        with self._lock:
            if self.is_closed:
                return True
            now = time.monotonic()
            if now < self._shut_until_s:
                return False
            self._shut_until_s = now + self._cooldown_s
            return True

    def failed(self) -> None:
        """Note a failed call."""
        with self._lock:
            self._failed += 1
            self._shut_until_s = time.monotonic() + self._cooldown_s

    def succeeded(self) -> None:
        """Note a call that gave tokens."""
        self._failed = 0


_breakers: WeakKeyDictionary[Any, Breaker] = WeakKeyDictionary()
_making = Lock()


def breaker_of(model: Any, retry: Retry) -> Breaker:
    """Return the breaker that all requests to a loaded model share."""
    with _making:
        if model not in _breakers:
            _breakers[model] = Breaker(
                failures=retry.breaker_failures, cooldown_s=retry.breaker_cooldown_s
            )
        return _breakers[model]

"""Retries: which failures are worth one, how many, how long to wait, and when to stop asking.

Values and arithmetic alone, on top of tenacity; the request loop does the waiting.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from tenacity import (
    AsyncRetrying,
    RetryAction,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
)
from tenacity.wait import wait_random_exponential

from splitreason_integrations.decide.strategies import (
    Strategy,
    check_strategy,
    model_call,
    never_stops,
)
from splitreason_integrations.errors import CircuitOpenError, ConfigurationError
from splitreason_integrations.processes.children import PerProcess


def is_retryable(error: BaseException) -> bool:
    """Return whether the same call may succeed later.

    An error's own `retryable` decides where it has one. Without, lost connections and time-outs
    are worth another call; anything else is not.
    """
    own = getattr(error, "retryable", None)
    return own if isinstance(own, bool) else isinstance(error, ConnectionError | TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed call is made again: to a large model, and to a small one on a server.

    Waits between calls are jittered and grow exponentially, as tenacity's
    `wait_random_exponential` has them. `wait`, `stop` and `retry` take tenacity's own strategies
    instead, joined by `|` and `&`, waits by `+`. Whatever they say, no call is made behind the
    request's deadline, and none of a model that is passed over.

    Attributes:
        attempts: Calls of one model within one span, the first included, 1 or more.
        wait_s: Upper bound of the first wait in seconds, 0 or more; it doubles each time.
        max_wait_s: Longest wait in seconds. Where the server asks for a longer one, the model is
            not called again.
        stall_s: Seconds without a token after which a call has failed; None waits for ever.
        breaker_failures: Failed calls in a row, of all requests to a model, after which it is
            passed over.
        breaker_cooldown_s: Seconds for which it is passed over; then one request probes it.
        retryable: Decides which errors are worth another call.
        wait: How long to wait, in place of `wait_s`. A longer wait that the server asks for holds.
        stop: When to make no further call, in place of `attempts`; the time counts from the first
            call of a model within a span. One that never stops needs a deadline.
        retry: Which errors are worth another call, in place of `retryable`. It sees the error that
            the model raised: for a server a `ModelCallError`.
        before_sleep: Called before each wait.

    Raises:
        ConfigurationError: If a number is below its least value, a strategy is none or is
            asynchronous, or both a strategy and what it stands for are given.

    """

    attempts: int = 3
    wait_s: float = 0.25
    max_wait_s: float = 8.0
    stall_s: float | None = 60.0
    breaker_failures: int = 5
    breaker_cooldown_s: float = 30.0
    retryable: Callable[[BaseException], bool] = is_retryable
    wait: Strategy | None = None
    stop: Strategy | None = None
    retry: Strategy | None = None
    before_sleep: Strategy | None = None

    def __post_init__(self) -> None:
        for name in ("wait", "stop", "retry", "before_sleep"):
            check_strategy(name, getattr(self, name))
        defaults = {field.name: field.default for field in fields(self)}
        for name, number in _INSTEAD_OF.items():
            given = getattr(self, number)
            if getattr(self, name) is not None and given != defaults[number]:
                raise ConfigurationError(f"give {name} or {number}, not both: {name} replaces it")
        for name in ("attempts", "breaker_failures"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_s") and value is not None and not value >= 0:
                raise ConfigurationError(f"{field.name} must be 0 or more seconds, got {value}")

    def is_worth(self, error: BaseException) -> bool:
        """Return whether an error is worth another call of the same model."""
        return Attempts(self).is_worth(error)


_INSTEAD_OF = {"wait": "wait_s", "stop": "attempts", "retry": "retryable"}


def check_ends(retry: Retry, deadline_s: float | None) -> None:
    """Raise ConfigurationError where calls might be repeated without end."""
    if deadline_s is None and retry.stop is not None and never_stops(retry.stop):
        raise ConfigurationError(
            "Retry(stop=...) never stops: set a deadline, with timeout=... or "
            "Policy(deadline_s=...), or join it, as in stop_after_attempt(5) | ..."
        )


class Attempts:
    """Counts the calls of one model within one span."""

    def __init__(self, retry: Retry) -> None:
        self._retrying = AsyncRetrying(
            stop=retry.stop or stop_after_attempt(retry.attempts),
            wait=retry.wait or wait_random_exponential(retry.wait_s, retry.max_wait_s),
            retry=retry.retry or retry_if_exception(retry.retryable),
            before_sleep=retry.before_sleep,
        )
        self._max_wait_s = retry.max_wait_s
        self._state = RetryCallState(self._retrying, fn=model_call, args=(), kwargs={})

    @property
    def count(self) -> int:
        """The number of the current call, from 1."""
        return self._state.attempt_number

    def is_worth(self, error: BaseException) -> bool:
        """Return whether an error is worth another call; a model that is passed over never is."""
        state: Any = self._state
        state.set_exception((type(error), error, error.__traceback__))
        return not isinstance(error, CircuitOpenError) and bool(self._retrying.retry(state))

    def note_failure(self, error: Exception, *, until_s: float | None) -> float | None:
        """Count a failed call; return the seconds before the next one, None for no next call.

        `until_s` is the time of `time.monotonic()` from which on a call is too late.
        """
        state: Any = self._state
        if not self.is_worth(error):
            return None
        asked = getattr(error, "retry_after_s", None) or 0.0
        wait = max(float(self._retrying.wait(state)), asked, 0.0)
        state.upcoming_sleep = wait
        if self._retrying.stop(state) or asked > self._max_wait_s or not math.isfinite(wait):
            return None
        if until_s is not None and time.monotonic() + wait >= until_s:
            return None
        state.next_action = RetryAction(wait)
        state.idle_for += wait
        if self._retrying.before_sleep is not None:
            self._retrying.before_sleep(state)
        state.prepare_for_next_attempt()
        return wait


@dataclass(slots=True)
class _Health:
    """How a model did lately: shared by all requests to it.

    Attributes:
        failed: How many calls in a row have failed.
        since_s: When the last call failed or the last probe was let through, by
            `time.monotonic()`.

    """

    failed: int = 0
    since_s: float = 0.0


_lock = PerProcess(Lock)
"""Held while a model's health is looked up or changed."""


class Breaker:
    """Passes over a model that failed again and again; probes it after a while.

    Closed until `failures` calls in a row have failed; then open for `cooldown_s`; then one call
    is let through, and decides. A probe that never reports is followed by another one. What is
    known of the model is shared by all breakers of it, the two thresholds are each caller's own.
    """

    def __init__(self, *, failures: int, cooldown_s: float, health: _Health | None = None) -> None:
        self._failures = failures
        self._cooldown_s = cooldown_s
        self._health = health or _Health()

    @property
    def is_closed(self) -> bool:
        """Whether calls go through as usual."""
        return self._health.failed < self._failures

    def admits(self) -> bool:
        """Return whether a call may be made now; a probe is admitted once in a cooldown."""
        with _lock.value:
            if self.is_closed:
                return True
            now = time.monotonic()
            if now < self._health.since_s + self._cooldown_s:
                return False
            self._health.since_s = now
            return True

    def failed(self) -> None:
        """Note a failed call."""
        with _lock.value:
            self._health.failed += 1
            self._health.since_s = time.monotonic()

    def succeeded(self) -> None:
        """Note a call that gave tokens."""
        with _lock.value:
            self._health.failed = 0


_known: WeakKeyDictionary[Any, _Health] = WeakKeyDictionary()
_known_by_name: dict[str, _Health] = {}


def breaker_of(model: Any, retry: Retry) -> Breaker:
    """Return a breaker with the thresholds of `retry` over what all requests know of a model.

    `model` is a loaded model, or the public name of one that could not be loaded yet.
    """
    with _lock.value:
        known: Any = _known_by_name if isinstance(model, str) else _known
        health = known.setdefault(model, _Health())
    return Breaker(
        failures=retry.breaker_failures, cooldown_s=retry.breaker_cooldown_s, health=health
    )

"""tenacity's strategies as `Retry` takes them: checked when they are set, not when a call fails."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from tenacity import AsyncRetrying, RetryCallState

from splitreason_integrations.errors import ConfigurationError

Strategy = Callable[[RetryCallState], Any]
"""One of tenacity's, or a function of the same argument."""

_EXAMPLES = {
    "wait": "wait_fixed(2) + wait_random(0, 1)",
    "stop": "stop_after_attempt(5) | stop_after_delay(30)",
    "retry": "retry_if_exception_type(TimeoutError)",
    "before_sleep": "before_sleep_log(logger, logging.WARNING)",
}
_LATE = 10**9
"""Calls and seconds after which a strategy that ever stops has stopped."""


def check_strategy(name: str, strategy: Any) -> None:
    """Raise ConfigurationError unless a setting is a strategy that can be asked at once."""
    if strategy is None:
        return
    example = f"use one of tenacity's, such as {_EXAMPLES[name]}"
    if isinstance(strategy, type):
        raise ConfigurationError(f"{name} is the class {strategy.__name__}: {example}")
    if not callable(strategy):
        raise ConfigurationError(f"{name} must be a strategy, got {strategy!r}: {example}")
    if iscoroutinefunction(strategy) or iscoroutinefunction(type(strategy).__call__):
        raise ConfigurationError(f"{name} must not be asynchronous: {example}")


def never_stops(stop: Strategy) -> bool:
    """Return whether a strategy would let calls be repeated without end."""
    state = RetryCallState(AsyncRetrying(), fn=None, args=(), kwargs={})
    state.start_time -= _LATE
    state.set_exception((TimeoutError, TimeoutError("late"), None))
    state.attempt_number, state.idle_for = _LATE, float(_LATE)
    return not stop(state)


def model_call() -> None:
    """Stand for the call of a model, in what tenacity logs."""

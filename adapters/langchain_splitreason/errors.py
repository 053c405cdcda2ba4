"""Errors that LangChain's own tools recognise, as retryable or not.

An error keeps its type, text and cause, and is also one of LangChain's model errors.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from langchain_core import exceptions as langchain

from splitreason_integrations import errors
from splitreason_integrations.decide.resilience import is_retryable


class ContextOverflowError(errors.ContextOverflowError, langchain.ContextOverflowError):
    """A prompt leaves no room in a model's context."""


@contextmanager
def recognised(
    retryable: Callable[[BaseException], bool] = is_retryable,
) -> Generator[None, None, None]:
    """Raise errors as LangChain's too; `retryable` says which errors of a model are temporary."""
    try:
        yield
    except errors.SplitReasonError as error:
        family = _family(error, retryable)
        if family is None or isinstance(error, langchain.ModelError):
            raise
        raise _as(error, family) from error.__cause__


def _family(
    error: errors.SplitReasonError, retryable: Callable[[BaseException], bool]
) -> type[langchain.ModelError] | None:
    """Return LangChain's type for such an error; None if it has none."""
    match error:
        case errors.ContextOverflowError():
            return langchain.ContextOverflowError
        case errors.RequestError():
            return langchain.ModelInvalidRequestError
        case errors.LargeModelError():
            return _call_family(error.__cause__ or error, retryable)
        case errors.ModelCallError():
            return _call_family(error, retryable)
        case errors.ConfigurationError() | errors.ReviewPendingError():
            return langchain.ModelError
    return None


def _call_family(
    error: BaseException, retryable: Callable[[BaseException], bool]
) -> type[langchain.ModelError]:
    if not retryable(error):
        return langchain.ModelError
    if isinstance(error, TimeoutError):
        return langchain.ModelTimeoutError
    if isinstance(error, ConnectionError):
        return langchain.ModelConnectionError
    asked_to_wait = getattr(error, "retry_after_s", None) is not None
    return langchain.ModelRateLimitError if asked_to_wait else langchain.ModelAPIError


def _as(error: errors.SplitReasonError, family: type[langchain.ModelError]) -> Exception:
    kind = _joined(type(error), family)
    same = kind.__new__(kind, *error.args)
    same.__dict__.update(error.__dict__)
    return same.with_traceback(error.__traceback__)


_kinds: dict[tuple[type[Exception], type[Exception]], type[Exception]] = {
    (errors.ContextOverflowError, langchain.ContextOverflowError): ContextOverflowError
}


def _joined(kind: type[Exception], family: type[Exception]) -> type[Exception]:
    """Return the type that is both; always the same one."""
    if (kind, family) not in _kinds:
        named = {"__doc__": kind.__doc__, "__module__": __name__}
        _kinds.setdefault((kind, family), type(kind.__name__, (kind, family), named))
    return _kinds[kind, family]

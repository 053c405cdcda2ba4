"""What can go wrong, named after the boundary that was crossed.

::

    SplitReasonError
    ├── ConfigurationError       what was asked for cannot be set up
    │   ├── SettingError         a value out of range, or a name that nothing knows
    │   ├── UnknownSpecError     no such way to name a model
    │   ├── MissingExtraError    an optional dependency is not installed
    │   ├── ModelLoadError       a model's files are missing, unreadable or do not fit
    │   │   └── ModelUnreachableError  its server does not answer now; another try may succeed
    │   │       └── ModelLoadTimeoutError  it was not loaded by the deadline
    │   ├── IncompatiblePairError  the two models cannot work together
    │   └── PauseError           a paused request was changed, is damaged or not signed
    ├── RequestError             the caller's request cannot be served
    │   ├── EmptyMessagesError
    │   ├── UnsupportedContentError  an image, audio, a file
    │   └── ContextOverflowError     prompt longer than a model's context
    ├── ToolChoiceError          a tool call was required and the reply has none that fits
    ├── AuditError               the audit log cannot be written, locked or read
    ├── SessionError             a closed session, or one of another model
    ├── ModelInUseError          a model is to be released and requests still use it
    ├── ForkedProcessError       a forked process used what only its parent can use
    ├── IllegalTransitionError   the engine broke its own rules; please report it
    ├── ReviewPendingError       a person will answer later; the request can be continued
    ├── ReviewError              the review queue cannot be used, or a question not answered
    ├── ModelCallError           a call of a loaded model failed
    │   ├── AnswerFormError      no answer came in the form that was asked for
    │   ├── UnmarkedReplyError   a reply lacks what marks its parts
    │   ├── ModelStalledError    no token came in time
    │   └── CircuitOpenError     the model failed too often lately and was passed over
    └── LargeModelError          the large model failed and on_large_failure is "raise"
"""

from typing import Any


class SplitReasonError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(SplitReasonError, ValueError):
    """What was asked for cannot be set up."""


class SettingError(ConfigurationError):
    """A setting has a value it cannot have, or is not known; `path` leads to it, tables first."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class UnknownSpecError(ConfigurationError):
    """No backend knows the way in which a model was named."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


class ModelLoadError(ConfigurationError):
    """A model's files are missing, unreadable or larger than the memory."""


class ModelUnreachableError(ModelLoadError):
    """A model's server refuses, fails or does not answer now; a later request tries again.

    Nothing is known to be wrong with the spec itself, unlike for other errors of loading.
    """

    retryable = True


class ModelLoadTimeoutError(ModelUnreachableError, TimeoutError):
    """A model was not loaded by the caller's deadline; it is still being loaded for later ones."""


class IncompatiblePairError(ConfigurationError):
    """The small and the large model cannot work together."""


class PauseError(ConfigurationError):
    """A paused request cannot be continued: it was changed, is damaged, or is not signed."""

    @classmethod
    def of(cls, problem: str) -> "PauseError":
        """Return the error of a problem, which names the remedy."""
        return cls(f"this paused request cannot be continued: {problem}")


class RequestError(SplitReasonError, ValueError):
    """The caller's request cannot be served."""


class EmptyMessagesError(RequestError):
    """A request has no message."""


class UnsupportedContentError(RequestError):
    """A message contains something other than text."""


class ContextOverflowError(RequestError):
    """A prompt leaves no room in a model's context."""


class ToolChoiceError(SplitReasonError):
    """A tool call was required and the reply has none that fits.

    Attributes:
        found: The calls that the reply has instead, each with what is wrong with it.

    """

    def __init__(self, message: str = "", found: str = "") -> None:
        super().__init__(message)
        self.found = found


class AuditError(SplitReasonError):
    """The audit log cannot be written, locked or read, or a line of it is damaged."""


class SessionError(SplitReasonError):
    """A session was used after it was closed, or with another model's tokens."""


class ModelInUseError(SplitReasonError):
    """A model cannot be released while requests use it, or while it is being loaded for one."""


class ForkedProcessError(SplitReasonError, RuntimeError):
    """A forked process used what only its parent can use: a model on a GPU, a stream it began."""


class IllegalTransitionError(SplitReasonError):
    """A fact reached the machine in a state in which it cannot happen."""


class ReviewPendingError(SplitReasonError):
    """A request waits for a person's answer; `resume(error.paused, answer)` continues it.

    Chat models and the engine have that method. `paused` is the paused request. One that a
    `ReviewQueue` holds is continued with what its `claim()` returns.
    """

    def __init__(self, question_id: str, paused: Any) -> None:
        super().__init__(
            f"a person has still to answer question {question_id}; nothing is lost: once they have "
            "(`splitreason review` where a ReviewQueue holds it), go on with resume(error.paused, "
            "answer), or with resume(claim.paused, claim.answer) of the queue's claim()"
        )
        self.paused = paused


class ReviewError(SplitReasonError):
    """The review queue cannot be opened or read, or a question not answered or gone on with."""


class ModelCallError(SplitReasonError):
    """A call of a loaded model failed; `retryable` says whether another one may succeed.

    `retry_after_s` is how long the model's server asked to wait, if it did, `status` the HTTP
    status with which it refused, and `said` its own words.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        retry_after_s: float | None = None,
        status: int | None = None,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.status = status
        self.said = said


class AnswerFormError(ModelCallError):
    """A large model gave no answer in the form that was asked for, or cannot give this one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class UnmarkedReplyError(ModelCallError):
    """A reply lacks what marks its parts: its server may hide control tokens."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class ModelStalledError(ModelCallError, TimeoutError):
    """A model gave no token in time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class CircuitOpenError(ModelCallError):
    """A model that failed too often lately was passed over."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class LargeModelError(SplitReasonError):
    """The large model failed and `on_large_failure="raise"` was asked for."""

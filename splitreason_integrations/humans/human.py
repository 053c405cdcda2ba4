"""Human checks of handoffs: questions, answers and reviewers.

A paused request is plain data: it can be continued in another process, and nothing is generated
twice.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import anyio
import anyio.to_thread

from splitreason_integrations.checks import check_names, check_number, check_text
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.signing import Keys, check_signature, sign
from splitreason_integrations.humans.stored import as_json, read_pause

Moment = Literal["before", "after"]

TIMEOUT = "timeout"
"""Who answered where nobody did in time."""


class Decision(StrEnum):
    """What a person can answer.

    Before the large model writes, `EDIT` gives it a hint; afterwards it replaces what it wrote.
    After `REFUSE` the small model writes the passage; `STOP` ends the reply.
    """

    APPROVE = "approve"
    """The large model writes, or what it wrote stays."""
    REFUSE = "refuse"
    """The small model writes the passage."""
    EDIT = "edit"
    """A hint before, a replacement after."""
    STOP = "stop"
    """The reply ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked about one span, which begins behind `start_token` reply tokens.

    `context` is the reply so far, `text` what the large model wrote (afterwards), `model` the
    large model; `offload_share` and `cost_usd` are those of the request so far.
    """

    request_id: str
    span: int
    start_token: int
    moment: Moment
    model: str
    opened_by: str
    context: str
    text: str = ""
    offload_share: float = 0.0
    cost_usd: float = 0.0
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What tells this question from all others."""
        return f"{self.request_id}:{self.start_token}:{self.moment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A decision, the text of an edit, and who answered when (ISO 8601, UTC).

    Raises:
        ConfigurationError: If the decision is none, or an edit has no text.

    """

    decision: Decision
    text: str = ""
    by: str = "unknown"
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", _decision(self.decision))
        for name in ("text", "by", "at"):
            check_text(name, getattr(self, name))
        if self.decision is Decision.EDIT and not self.text:
            raise ConfigurationError("an edit needs a text; to write nothing, refuse")


@dataclass(frozen=True, slots=True)
class Paused:
    """A request paused until a person answers `question`.

    `state` is plain data: `SplitEngine.resume` goes on from it, in this process or another. Where
    nobody answers within `timeout_s` seconds, `on_timeout` is the answer. `signature` is of all
    these: by the engine's first `pause_key`, a checksum where it has none.
    """

    question: Question
    state: Mapping[str, Any]
    timeout_s: float | None = None
    on_timeout: Decision = Decision.REFUSE
    signature: str | None = None

    def to_json(self) -> str:
        """Return the request as JSON."""
        signed = {} if self.signature is None else {"signature": self.signature}
        return as_json({**self._content(), **signed})

    @classmethod
    def from_json(cls, text: str) -> "Paused":
        """Return the request that `to_json` wrote; raise PauseError for other texts.

        What is in `state` is checked where the request is continued.
        """
        stored = read_pause(text)
        question = Question(**dict(stored.question))
        decision = Decision(stored.on_timeout)
        return cls(question, stored.state, stored.timeout_s, decision, stored.signature)

    def signed(self, keys: Keys) -> "Paused":
        """Return the request with a signature by the first key, or a checksum without keys."""
        return replace(self, signature=sign(self._content(), keys))

    def check_signature(self, keys: Keys) -> None:
        """Raise PauseError unless the request is as it was when one of the keys signed it.

        Without keys its checksum is checked, where it has one.
        """
        check_signature(self._content(), self.signature, keys)

    def _content(self) -> dict[str, Any]:
        """Return what is signed, as plain data."""
        return {
            "question": asdict(self.question),
            "state": self.state,
            "timeout_s": self.timeout_s,
            "on_timeout": self.on_timeout,
        }


class Reviewer(Protocol):
    """Someone who answers questions."""

    async def review(self, paused: Paused) -> Answer | None:
        """Return the answer, or None where it will come later: then the request is paused."""
        ...


REVIEWERS: dict[str, type] = {}
"""Reviewers that plain data can name, by the names of their classes."""

_R = TypeVar("_R", bound=type)


def named_reviewer(kind: _R) -> _R:
    """Let plain data name a class of reviewers; of a dataclass they hold the fields."""
    REVIEWERS[kind.__name__] = kind
    return kind


Given = Answer | Decision | bool | str | None
AskFunction = Callable[[Question], Given | Awaitable[Given]]


@dataclass(frozen=True, slots=True)
class FunctionReviewer:
    """Asks a function, plain or async, that returns an `Answer`, a decision or a truth value.

    A plain function runs in a thread of its own, so it may wait for somebody.
    """

    function: AskFunction
    by: str = "function"

    async def review(self, paused: Paused) -> Answer | None:
        """Return what the function says."""
        if inspect.iscoroutinefunction(self.function):
            given: Any = await self.function(paused.question)
        else:
            given = await anyio.to_thread.run_sync(
                partial(self.function, paused.question), abandon_on_cancel=True
            )
            given = await given if inspect.isawaitable(given) else given
        return None if given is None else read_answer(given, by=self.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanCheck:
    """Who is asked, when, and what holds if nobody answers in time.

    `before` and `after` say when to ask, next to the policy's own rules; None never. Where
    `after` may ask, a span is shown only once it is accepted. Waiting does not count towards the
    policy's deadline. `on_timeout` is the answer after `timeout_s` seconds.

    Raises:
        ConfigurationError: If `reviewer` cannot be asked, `on_timeout` is an edit, or `timeout_s`
            no number of seconds.

    """

    reviewer: Reviewer | AskFunction
    before: AskRule | None = field(default_factory=AskRule)
    after: AskRule | None = None
    timeout_s: float | None = None
    on_timeout: Decision = Decision.REFUSE

    def __post_init__(self) -> None:
        if not (callable(self.reviewer) or hasattr(self.reviewer, "review")):
            raise ConfigurationError(
                f"reviewer must be a function of a Question or have a method review, "
                f"got {self.reviewer!r}"
            )
        object.__setattr__(self, "on_timeout", _decision(self.on_timeout))
        if self.on_timeout is Decision.EDIT:
            raise ConfigurationError("on_timeout cannot be 'edit': there is no text")
        if self.timeout_s is not None:
            check_number("timeout_s", self.timeout_s)

    async def answer(self, paused: Paused) -> Answer | None:
        """Return the answer to a question; None where the request is to be paused."""
        asked: Any = self.reviewer
        reviewer: Reviewer = asked if hasattr(asked, "review") else FunctionReviewer(asked)
        with anyio.move_on_after(self.timeout_s) as scope:
            return await reviewer.review(paused)
        assert scope.cancelled_caught
        return Answer(decision=self.on_timeout, by=TIMEOUT)


def read_answer(given: Any, *, by: str, to: Question | None = None) -> Answer:
    """Return the answer that a truth value, a decision or a dict of an answer's facts stands for.

    `by` is who answered where that is not among the facts. A dict may have the `id` of its
    question, which is then the one that it is given `to`. Raises ConfigurationError for others.
    """
    if isinstance(given, Answer):
        return given
    if isinstance(given, bool):
        return Answer(decision=Decision.APPROVE if given else Decision.REFUSE, by=by)
    if not isinstance(given, Mapping):
        return Answer(decision=_decision(given), by=by)
    check_names(given, {"id", "decision", "text", "by", "at"}, what="fact of an answer")
    if "decision" not in given:
        raise ConfigurationError(f"an answer needs a decision, one of {', '.join(Decision)}")
    facts = {name: fact for name, fact in given.items() if name != "id"}
    if to is not None and given.get("id", to.id) != to.id:
        raise ConfigurationError(
            f"this answers question {given['id']!r}, and the question is {to.id!r}: answer this one"
        )
    return Answer(**{"by": by, **facts})


def _decision(value: Any) -> Decision:
    try:
        return Decision(value)
    except ValueError:
        raise ConfigurationError(
            f"a decision is one of {', '.join(Decision)}, got {value!r}"
        ) from None

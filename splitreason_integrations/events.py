"""What can happen during a generation: one family for LangChain, LlamaIndex and logs.

Names are `splitreason.<subject>.<verb>`; `request_id` and `span` join events of one span.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base of the family."""

    name: ClassVar[str]
    request_id: str

    def data(self) -> dict[str, Any]:
        """Return the event's facts as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class HandoffRequested(Event):
    """A trigger fired; `span` counts the request's spans from 0."""

    name: ClassVar[str] = "splitreason.handoff.requested"
    span: int
    start_token: int
    opened_by: str


@dataclass(frozen=True, slots=True)
class HumanAsked(Event):
    """A person is asked, `moment` "before" the large model writes or "after" it wrote."""

    name: ClassVar[str] = "splitreason.human.asked"
    span: int
    moment: str
    model: str


@dataclass(frozen=True, slots=True)
class HumanAnswered(Event):
    """The answer: approve, refuse, edit or stop; `by` whom, `at` what time (ISO 8601, UTC).

    `waited_s` is how long the request waited in this process.
    """

    name: ClassVar[str] = "splitreason.human.answered"
    span: int
    moment: str
    decision: str
    by: str
    at: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class HandoffApproved(Event):
    """A person let the large model write, or took what it wrote."""

    name: ClassVar[str] = "splitreason.handoff.approved"
    span: int
    by: str


@dataclass(frozen=True, slots=True)
class HandoffRefused(Event):
    """A person did not let the large model write, or dropped what it wrote."""

    name: ClassVar[str] = "splitreason.handoff.refused"
    span: int
    by: str


@dataclass(frozen=True, slots=True)
class HandoffStarted(Event):
    """The large model has begun to write; `model` is its name."""

    name: ClassVar[str] = "splitreason.handoff.started"
    span: int
    start_token: int
    model: str


@dataclass(frozen=True, slots=True)
class HandoffFinished(Event):
    """The span is closed and the small model goes on."""

    name: ClassVar[str] = "splitreason.handoff.finished"
    span: int
    start_token: int
    tokens: int
    text: str
    closed_by: str
    latency_s: float
    cost_usd: float


@dataclass(frozen=True, slots=True)
class HandoffRetried(Event):
    """A call of the large model failed and is made again after `wait_s`; nothing is lost.

    `attempt` is the number of the call that failed, from 1.
    """

    name: ClassVar[str] = "splitreason.handoff.retried"
    span: int
    model: str
    error: str
    attempt: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class HandoffFailed(Event):
    """A large model failed for good; what it had written is kept."""

    name: ClassVar[str] = "splitreason.handoff.failed"
    span: int
    error: str
    model: str


@dataclass(frozen=True, slots=True)
class HandoffFellBack(Event):
    """Another large model goes on, named by `to`, or the small one: then `to` is "small"."""

    name: ClassVar[str] = "splitreason.handoff.fell_back"
    span: int
    to: str


@dataclass(frozen=True, slots=True)
class BudgetExhausted(Event):
    """A cap of the policy was reached; `cap` names its field."""

    name: ClassVar[str] = "splitreason.budget.exhausted"
    cap: str
    span: int

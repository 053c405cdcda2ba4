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
class HandoffFailed(Event):
    """The large model failed; what it had written is kept."""

    name: ClassVar[str] = "splitreason.handoff.failed"
    span: int
    error: str


@dataclass(frozen=True, slots=True)
class HandoffFellBack(Event):
    """The small model writes the rest by itself."""

    name: ClassVar[str] = "splitreason.handoff.fell_back"
    span: int
    to: str


@dataclass(frozen=True, slots=True)
class BudgetExhausted(Event):
    """A cap of the policy was reached; `cap` names its field."""

    name: ClassVar[str] = "splitreason.budget.exhausted"
    cap: str
    span: int

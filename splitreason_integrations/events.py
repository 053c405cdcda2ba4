"""What can happen during a generation: one family for LangChain, LlamaIndex and logs.

Names are `splitreason.<subject>.<verb>`; `request_id` and `span` join events of one span.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base of the family.

    Attributes:
        name: `splitreason.<subject>.<verb>`.
        request_id: the request that the event belongs to.

    """

    name: ClassVar[str]
    request_id: str

    def data(self) -> dict[str, Any]:
        """Return the event's facts as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RulesChosen(Event):
    """A request begins whose small model was never taught to mark spans.

    Attributes:
        trigger: what opens its spans, as text.
        close: what ends them, as text.
        choice_reason: why these were chosen; None where both were named.

    """

    name: ClassVar[str] = "splitreason.rules.chosen"
    trigger: str
    close: str
    choice_reason: str | None


@dataclass(frozen=True, slots=True)
class HandoffRequested(Event):
    """A trigger fired.

    Attributes:
        span: the number of the span in its request, from 0.
        start_token: how many tokens of the reply come before the span.
        opened_by: the trigger, as text.

    """

    name: ClassVar[str] = "splitreason.handoff.requested"
    span: int
    start_token: int
    opened_by: str


@dataclass(frozen=True, slots=True)
class HumanAsked(Event):
    """A person is asked about a span.

    Attributes:
        span: the number of the span in its request, from 0.
        moment: `before` the large model writes, or `after` it wrote.
        model: the large model's name.

    """

    name: ClassVar[str] = "splitreason.human.asked"
    span: int
    moment: str
    model: str


@dataclass(frozen=True, slots=True)
class HumanAnswered(Event):
    """A person answered a question.

    Attributes:
        span: the number of the span in its request, from 0.
        moment: `before` the large model writes, or `after` it wrote.
        decision: approve, refuse, edit or stop.
        by: who answered.
        at: when, in ISO 8601 and UTC.
        waited_s: seconds that the request waited in this process.

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
    """A person let the large model write, or took what it wrote.

    Attributes:
        span: the number of the span in its request, from 0.
        by: who answered.

    """

    name: ClassVar[str] = "splitreason.handoff.approved"
    span: int
    by: str


@dataclass(frozen=True, slots=True)
class HandoffRefused(Event):
    """A person did not let the large model write, or dropped what it wrote.

    Attributes:
        span: the number of the span in its request, from 0.
        by: who answered.

    """

    name: ClassVar[str] = "splitreason.handoff.refused"
    span: int
    by: str


@dataclass(frozen=True, slots=True)
class HandoffStarted(Event):
    """The large model has begun to write.

    Attributes:
        span: the number of the span in its request, from 0.
        start_token: how many tokens of the reply come before the span.
        model: the large model's name.

    """

    name: ClassVar[str] = "splitreason.handoff.started"
    span: int
    start_token: int
    model: str


@dataclass(frozen=True, slots=True)
class HandoffFinished(Event):
    """The span is closed and the small model goes on.

    Attributes:
        span: the number of the span in its request, from 0.
        start_token: how many tokens of the reply come before the span.
        tokens: tokens of the span.
        text: text of the span.
        closed_by: why the span ended.
        latency_s: seconds from its opening to its end.
        cost_usd: what the large model's tokens of the span cost.

    """

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
    """A call of the large model failed and is made again; nothing is lost.

    Attributes:
        span: the number of the span in its request, from 0.
        model: the large model's name.
        error: the type of the error.
        attempt: the number of the call that failed, from 1.
        wait_s: seconds before the call is made again.

    """

    name: ClassVar[str] = "splitreason.handoff.retried"
    span: int
    model: str
    error: str
    attempt: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class HandoffFailed(Event):
    """A large model failed for good; what it had written is kept.

    Attributes:
        span: the number of the span in its request, from 0.
        error: the type of the error.
        model: the large model's name.

    """

    name: ClassVar[str] = "splitreason.handoff.failed"
    span: int
    error: str
    model: str


@dataclass(frozen=True, slots=True)
class HandoffFellBack(Event):
    """Another large model goes on, or the small one.

    Attributes:
        span: the number of the span in its request, from 0.
        to: the large model that goes on, or `small`.

    """

    name: ClassVar[str] = "splitreason.handoff.fell_back"
    span: int
    to: str


@dataclass(frozen=True, slots=True)
class SettingLeftOut(Event):
    """A model's server does not take a setting of the request, and was asked without it.

    Attributes:
        model: the model's name.
        setting: the setting; with its value where the server takes others.

    """

    name: ClassVar[str] = "splitreason.setting.left_out"
    model: str
    setting: str


@dataclass(frozen=True, slots=True)
class BudgetExhausted(Event):
    """A cap of the policy was reached.

    Attributes:
        cap: the policy's field that was reached.
        span: the number of the span in its request, from 0.

    """

    name: ClassVar[str] = "splitreason.budget.exhausted"
    cap: str
    span: int

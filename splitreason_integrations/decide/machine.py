"""What comes next: a transition table and the arithmetic of its caps. No I/O, no model.

The request loop notes facts, asks for the next `order` and executes it. An illegal fact raises
and changes nothing.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from splitreason_integrations.decide.ledger import Ledger
from splitreason_integrations.decide.orders import (
    REASONING_CAP,
    AwaitAnswer,
    CloseReasoning,
    CloseSpan,
    Finish,
    Order,
    WriteLarge,
    WriteSmall,
)
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import IllegalTransitionError
from splitreason_integrations.records import Channel


class State(Enum):
    """Who writes now; nobody does while a person is asked, nor once the reply is done."""

    SMALL = auto()
    LARGE = auto()
    WAITING = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class SmallWrote:
    """The small model wrote `tokens`."""

    tokens: int


@dataclass(frozen=True, slots=True)
class SmallDropped:
    """The small model wrote `tokens` behind the place at which a span opens; they are dropped."""

    tokens: int


@dataclass(frozen=True, slots=True)
class SpanOpened:
    """A trigger fired."""

    opened_by: str


@dataclass(frozen=True, slots=True)
class QuestionPut:
    """A person is asked about the open span."""


@dataclass(frozen=True, slots=True)
class SpanApproved:
    """The person lets the large model write."""


@dataclass(frozen=True, slots=True)
class SpanRefused:
    """The person does not let the large model write."""


@dataclass(frozen=True, slots=True)
class SpanReplaced:
    """A person dropped `dropped` tokens of the span and wrote `tokens` in their place."""

    dropped: int
    tokens: int


@dataclass(frozen=True, slots=True)
class LargeWrote:
    """The large model read `read` tokens, wrote `tokens` to keep and `surplus` to drop."""

    tokens: int
    surplus: int
    read: int


@dataclass(frozen=True, slots=True)
class LargeRead:
    """The large model read `tokens` while the small one writes."""

    tokens: int


@dataclass(frozen=True, slots=True)
class SpanClosed:
    """The span ended, for the reason given."""

    closed_by: str


@dataclass(frozen=True, slots=True)
class LargeFailed:
    """The large model cannot go on."""


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The reply is complete, for the reason given."""

    reason: str


Fact = (
    SmallWrote
    | SmallDropped
    | SpanOpened
    | QuestionPut
    | SpanApproved
    | SpanRefused
    | SpanReplaced
    | LargeWrote
    | LargeRead
    | SpanClosed
    | LargeFailed
    | ReplyEnded
)

TRANSITIONS: dict[tuple[State, type[Fact]], State] = {
    (State.SMALL, SmallWrote): State.SMALL,
    (State.SMALL, SmallDropped): State.SMALL,
    (State.SMALL, LargeRead): State.SMALL,
    (State.SMALL, SpanOpened): State.LARGE,
    (State.SMALL, ReplyEnded): State.DONE,
    (State.LARGE, QuestionPut): State.WAITING,
    (State.WAITING, SpanApproved): State.LARGE,
    (State.WAITING, SpanRefused): State.SMALL,
    (State.WAITING, SpanReplaced): State.LARGE,
    (State.WAITING, ReplyEnded): State.DONE,
    (State.LARGE, LargeWrote): State.LARGE,
    (State.LARGE, SpanReplaced): State.LARGE,
    (State.LARGE, SpanClosed): State.SMALL,
    (State.LARGE, LargeFailed): State.SMALL,
    (State.LARGE, ReplyEnded): State.DONE,
}


class Machine:
    """The state of one request, and what its policy still allows.

    Attributes:
        policy: the caps and gates of this request.
        max_tokens: how many tokens the reply may have.
        prices: what the large model's tokens cost.
        state: who writes now.
        ledger: what the request has used so far.
        degraded: whether the large model failed, so that the small one goes on alone.
        stop_reason: why the reply ended; empty until then.
        exhausted: the caps that were reached, in order.

    """

    def __init__(self, *, policy: Policy, max_tokens: int, prices: Prices | None = None) -> None:
        self.policy = policy
        self.max_tokens = max_tokens
        self.prices = prices or Prices()
        self.state = State.SMALL
        self.ledger = Ledger()
        self.degraded = False
        self._empty_span = False
        self._context_room = max_tokens
        self._channel: Channel | None = Channel.REASONING
        self._reasoning_left: int | None = None
        self.stop_reason = ""
        self.exhausted: list[str] = []

    def note(self, fact: Fact) -> None:
        """Record a fact; raise IllegalTransitionError where it cannot happen now."""
        state = TRANSITIONS.get((self.state, type(fact)))
        if state is None:
            raise IllegalTransitionError(f"{type(fact).__name__} cannot happen in {self.state}")
        ledger = self.ledger
        match fact:
            case SmallWrote(tokens):
                self._empty_span = self._empty_span and tokens == 0
                self.ledger = replace(
                    ledger,
                    small=ledger.small + tokens,
                    gap=ledger.gap + tokens,
                    unread=ledger.unread + tokens,
                )
            case SmallDropped(tokens):
                self.ledger = replace(ledger, small_surplus=ledger.small_surplus + tokens)
            case SpanOpened():
                self.ledger = replace(ledger, spans=ledger.spans + 1)
            case SpanRefused():
                self._empty_span = True
                self.ledger = replace(ledger, spans=ledger.spans - 1)
            case SpanReplaced(dropped, tokens):
                self.ledger = replace(
                    ledger,
                    large=ledger.large - dropped,
                    surplus=ledger.surplus + dropped,
                    span=tokens,
                    human=ledger.human + tokens,
                )
            case LargeWrote() | LargeRead():
                self.ledger = self._after_large(fact)
            case ReplyEnded(reason):
                self.stop_reason = reason
            case SpanClosed() | LargeFailed():
                self.degraded = self.degraded or isinstance(fact, LargeFailed)
                self._empty_span = ledger.span == 0
                self.ledger = replace(ledger, span=0, span_s=0.0, gap=0)
        self.state = state

    def _after_large(self, fact: LargeWrote | LargeRead) -> Ledger:
        """Return the ledger with what the large model has just read and written."""
        ledger = self.ledger
        if isinstance(fact, LargeRead):
            paid = self.prices.cost_usd(input_tokens=fact.tokens, output_tokens=0)
            return replace(
                ledger,
                unread=max(0, ledger.unread - fact.tokens),
                usd=ledger.usd + paid,
                ahead_usd=ledger.ahead_usd + paid,
                ahead_tokens=ledger.ahead_tokens + fact.tokens,
            )
        written = fact.tokens + fact.surplus
        paid = self.prices.cost_usd(input_tokens=fact.read, output_tokens=written)
        return replace(
            ledger,
            large=ledger.large + fact.tokens,
            surplus=ledger.surplus + fact.surplus,
            span=ledger.span + fact.tokens,
            unread=max(0, ledger.unread - fact.read),
            usd=ledger.usd + paid,
        )

    def at(
        self,
        elapsed_s: float,
        *,
        span_s: float = 0.0,
        unread: int | None = None,
        context_room: int | None = None,
        channel: Channel | None = Channel.REASONING,
        reasoning_left: int | None = None,
    ) -> None:
        """Update what the next order depends on.

        Args:
            elapsed_s: seconds since the request began that count towards its deadline.
            span_s: seconds since the open span opened.
            unread: tokens that the large model has to read before it writes; None leaves it.
            context_room: tokens that still fit into both contexts; None leaves it.
            channel: the part of the reply being written; None before one has begun, and between
                two of them.
            reasoning_left: tokens that may still be reasoning; None without a cap, and where the
                reply reasons no more.

        """
        self._reasoning_left = reasoning_left
        self._context_room = self._context_room if context_room is None else context_room
        self._channel = channel
        self.ledger = replace(
            self.ledger,
            elapsed_s=elapsed_s,
            span_s=span_s,
            unread=self.ledger.unread if unread is None else unread,
        )

    def order(self) -> Order:
        """Return what to do next; changes nothing but the list of exhausted caps."""
        if self.state is State.DONE:
            return Finish(self.stop_reason)
        if self.state is State.WAITING:
            return AwaitAnswer()
        left = self.max_tokens - self.ledger.small - self.ledger.large - self.ledger.human
        left = min(left, self._context_room)
        if left <= 0:
            return Finish("length")
        deadline = self.policy.deadline_s
        if deadline is not None and self.ledger.elapsed_s >= deadline:
            return Finish("deadline")
        if self._reasoning_left:
            left = min(left, self._reasoning_left)
        elif self._reasoning_left is not None and self._channel is Channel.REASONING:
            return self._end_reasoning(left)
        return self._order_large(left) if self.state is State.LARGE else self._order_small(left)

    def may_open_soon(self, channel: Channel | None) -> bool:
        """Return whether caps let a span open in this part of the reply, now or after a gate."""
        opens = not self.degraded and self.policy.opens_in(channel)
        return opens and self.policy.may_open(self.ledger, self.prices).tokens > 0

    def may_read(self, tokens: int) -> bool:
        """Return whether caps let the large model read so many tokens, and a span open then."""
        ledger = replace(self.ledger, unread=tokens)
        return not self.degraded and self.policy.may_open(ledger, self.prices).tokens > 0

    def _end_reasoning(self, left: int) -> Order:
        if self.state is State.LARGE:
            return CloseSpan(REASONING_CAP)
        self._exhaust(REASONING_CAP)
        return CloseReasoning(left)

    def _order_large(self, left: int) -> Order:
        if not self.policy.opens_in(self._channel):
            return CloseSpan("only_in_reasoning")
        room = self.policy.room(self.ledger, self.prices)
        if room.tokens == 0:
            self._exhaust(room.cap)
            return CloseSpan(room.cap)
        return WriteLarge(min(left, room.tokens))

    def _order_small(self, left: int) -> Order:
        if self.degraded:
            return WriteSmall(left, may_open=False)
        if self._empty_span:
            # The large model wrote nothing here; another handoff would repeat that for ever.
            return WriteSmall(1, may_open=False)
        if not self.policy.opens_in(self._channel):
            # Nothing but an answer that has begun rules out that reasoning is still to come.
            return WriteSmall(1 if self._channel is None else left, may_open=False)
        if self._has_no_room_in_reasoning:
            return WriteSmall(left, may_open=False)
        room = self.policy.may_open(self.ledger, self.prices)
        if room.tokens:
            gate = self.policy.gate_tokens(self.ledger)
            return WriteSmall(min(left, gate or left), may_open=not gate)
        if room.cap == "max_offload_share":
            wait = self.policy.small_tokens_until_open(self.ledger)
            return WriteSmall(left if wait is None else min(left, wait), may_open=False)
        self._exhaust(room.cap)
        return WriteSmall(left, may_open=False)

    @property
    def _has_no_room_in_reasoning(self) -> bool:
        left = self._reasoning_left
        if self._channel is not Channel.REASONING or left is None:
            return False
        return left < self.policy.least_span_tokens

    def _exhaust(self, cap: str) -> None:
        # A span's own cap ends that span alone; the request's budget is what can run out.
        if cap not in ("max_span_tokens", "max_span_s", *self.exhausted):
            self.exhausted.append(cap)

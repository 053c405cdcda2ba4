"""Replay a reply of the small model alone as if spans had been handed off in it.

A span replaces the small model's tokens from its opening to its end, and what fires in them opens
nothing. The engine's own state machine applies gaps and caps.
"""

from dataclasses import dataclass

from splitreason_integrations.decide.closing import (
    TEXT_CHARACTERS,
    CloseRule,
    JoinedClose,
    OwnToken,
    SpanPlace,
    StepEnd,
    TagClose,
)
from splitreason_integrations.decide.machine import (
    LargeRead,
    LargeWrote,
    Machine,
    SmallWrote,
    SpanClosed,
    SpanOpened,
)
from splitreason_integrations.decide.orders import CloseSpan, WriteLarge, WriteSmall
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import Needs, Trigger
from splitreason_integrations.evals.watching import Watched
from splitreason_integrations.records import Channel


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a reply would have been with spans.

    Attributes:
        openings: Index of the token of the small model at which each span opens.
        large_tokens: Tokens of the large model.
        small_tokens: Tokens of the small model that no span replaces.
        large_usd: What the large model would have cost, in USD.

    """

    openings: tuple[int, ...]
    large_tokens: int
    small_tokens: int
    large_usd: float


@dataclass(frozen=True)
class NeverCloses(CloseRule):
    """Takes the place of a close tag that the small model never writes: caps alone end the span."""

    def closes(self, at: SpanPlace) -> bool:
        """Return False."""
        return False


def replay_close(close: CloseRule, *, closes: bool) -> CloseRule:
    """Return the close rule that says what a span replaces in the small model's own text.

    The small model writes no close tag in text without an open one: a taught model's spans replace
    the rest of a step; with another model the tag ends nothing.

    Args:
        close: The rule.
        closes: Whether the small model was taught to close spans.

    """
    if isinstance(close, TagClose):
        return StepEnd() if closes else NeverCloses()
    if isinstance(close, JoinedClose):
        sides = (replay_close(side, closes=closes) for side in (close.left, close.right))
        return type(close)(*sides)
    return close


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What opens, ends and caps spans.

    Attributes:
        trigger: Opens spans.
        close: Says what a span replaces; see `replay_close`.
        policy: Caps them.
        prices: What the large model's tokens cost.
        span_tokens: How long each span is; None: as long as what it replaces.
        chunk_tokens: How many tokens the large model writes at a time; those behind a span's end
            are dropped and paid for.
        max_tokens: Longest reply in tokens.

    """

    trigger: Trigger
    close: CloseRule
    policy: Policy
    prices: Prices
    span_tokens: int | None = None
    chunk_tokens: int = 1
    max_tokens: int = 1 << 30

    def forecast(self, watched: Watched) -> Forecast:
        """Return what a reply would have been."""
        return _Reply(self, watched).replayed()


class _Reply:
    """One reply while it is replayed.

    `_at` is the small model's token that comes next. In a span, `_ends` is the first token that the
    span does not replace, and `_left` is how many tokens the large model has still to write.
    """

    def __init__(self, rules: Replay, watched: Watched) -> None:
        self._rules = rules
        self._watched = watched
        self._length = watched.reply.small_tokens
        self._reads = Needs.LARGE in rules.trigger.needs
        self._machine = Machine(
            policy=rules.policy, max_tokens=rules.max_tokens, prices=rules.prices
        )
        self._at = self._ends = self._left = 0
        self._openings: list[int] = []

    def replayed(self) -> Forecast:
        """Return the forecast."""
        machine, prompt_tokens = self._machine, self._watched.reply.prompt_tokens
        machine.at(0.0, unread=prompt_tokens)
        while self._at < self._length:
            machine.at(0.0, channel=self._channel)
            match machine.order():
                case WriteSmall(tokens, may_open):
                    self._write_small(tokens, may_open=may_open)
                case WriteLarge(tokens):
                    self._write_large(tokens)
                case CloseSpan(cap):
                    machine.note(SpanClosed(cap))
                case _:
                    break
        ledger = machine.ledger
        return Forecast(tuple(self._openings), ledger.large, ledger.small, ledger.usd)

    @property
    def _channel(self) -> Channel:
        reasons = self._at < self._watched.reply.reasoning_tokens
        return Channel.REASONING if reasons else Channel.ANSWER

    def _write_small(self, tokens: int, *, may_open: bool) -> None:
        """Keep the small model's tokens up to an opening."""
        rules, machine, start = self._rules, self._machine, self._at
        ends = min(self._length, start + tokens)
        reasoning = self._watched.reply.reasoning_tokens
        if rules.policy.only_in_reasoning and start < reasoning:
            ends = min(ends, reasoning)
        opening = None
        while self._at < ends and opening is None:
            opening = self._watched.opening(rules.trigger, self._at) if may_open else None
            self._at += opening is None
        machine.note(SmallWrote(self._at - start))
        if self._reads and may_open:
            machine.note(LargeRead(machine.ledger.unread))
        if opening is None:
            return
        machine.note(SpanOpened(str(rules.trigger)))
        self._openings.append(self._at)
        exact = rules.trigger.span_tokens(opening)
        self._ends = self._close_at(self._at) if exact is None else self._at + exact
        self._ends = min(self._ends, self._length)
        self._left = exact or rules.span_tokens or self._ends - self._at

    def _write_large(self, tokens: int) -> None:
        """Let a span replace the small model's tokens up to its end, or to a cap."""
        machine = self._machine
        count = min(tokens, self._left)
        self._left -= count
        surplus = 0 if self._left else -count % self._rules.chunk_tokens
        machine.note(LargeWrote(count, surplus, machine.ledger.unread))
        self._at = min(self._ends, self._at + count) if self._left else self._ends
        if not self._left:
            machine.note(SpanClosed(str(self._rules.close)))

    def _close_at(self, start: int) -> int:
        """Return behind which token the close rule ends a span that opens at `start`."""
        watched, own = self._watched, list[OwnToken]()
        for index in range(start, self._length):
            own.append(self._own(index))
            behind = watched.last(index + 1)
            before, text = watched.texts[index : index + 2]
            place = SpanPlace(
                entropy=behind.entropy if behind else 0.0,
                own=own,
                text=text[-TEXT_CHARACTERS:],
                new_text=text[len(before) :],
            )
            if self._rules.close.closes(place):
                return index + 1
        return self._length

    def _own(self, index: int) -> OwnToken:
        """Return whether both models would have written a token of the small one."""
        at = self._watched.last(index)
        if at is None or at.large_likeliest:
            return OwnToken(at.confidence if at else 1.0, likeliest=True)
        return OwnToken(0.0, likeliest=False)

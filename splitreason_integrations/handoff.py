"""The spans of one request: opened, handed over, handed back.

The small model reads along and says where a span ends; whatever fails on the way is for
`recovery`, whatever a person is asked for `review`.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.desk import Desk, Item
from splitreason_integrations.errors import CircuitOpenError, ModelStalledError
from splitreason_integrations.handback import Handback
from splitreason_integrations.human import Answer
from splitreason_integrations.machine import (
    LargeFailed,
    LargeWrote,
    SpanClosed,
    SpanOpened,
    SpanReplaced,
    State,
    TurnEnded,
    WriteLarge,
)
from splitreason_integrations.recovery import NextLarge, Recovery
from splitreason_integrations.resilience import breaker_of
from splitreason_integrations.review import FAILURE, Review

GRACE_S = 0.25
"""How long after its time a model may take to say that it has ended."""

_STREAM = 2


class Handoffs:
    """What happens between a trigger and the small model's going on."""

    def __init__(self, desk: Desk, next_large: NextLarge) -> None:
        self._desk = desk
        self._recovery = Recovery(desk, next_large)
        self._review = Review(desk)

    def open(self) -> list[Item]:
        """Open a span where the trigger fired; a person is asked first where a rule says so."""
        opened_by = str(self._desk.settings.trigger)
        self._desk.machine.note(SpanOpened(opened_by))
        return [self._desk.spans.open(opened_by), *self._review.put_question("before")]

    async def write(self, order: WriteLarge) -> AsyncGenerator[Item, None]:
        """Let the large model write a chunk, and check it with the small model."""
        desk = self._desk
        received: list[int] = []
        written, known = Written(()), 0
        try:
            if not desk.spans.current.has_begun:
                yield self._begin()
                return
            known = desk.large.session.length
            async with aclosing(self._written(order)) as writing:
                async for written in writing:
                    received += written.token_ids
                    if written.end is None and not desk.settings.hands_back:
                        for item in self._keep(received):
                            yield item
                        known, received = known + len(received), []
                        if desk.machine.state is State.DONE:
                            return
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            async with aclosing(self._recover(error, known, received)) as recovering:
                async for item in recovering:
                    yield item
            return
        breaker_of(desk.large.model, desk.settings.retry).succeeded()
        for item in await self._after_chunk(received, written):
            yield item

    def end(self, closed_by: str) -> list[Item]:
        """End the span; a person is asked first where a rule says so."""
        span = self._desk.spans.current
        span.closed_by = closed_by
        if self._desk.settings.hands_back and span.has_begun:
            self._desk.handback.end()
        return self._review.put_question("after") or self._accept()

    def take(self, answer: Answer) -> list[Item]:
        """Do what a person answered."""
        was_written = bool(self._desk.spans.current.closed_by)
        items = self._review.take(answer)
        return [*items, *self._accept()] if was_written else items

    def _begin(self) -> Item:
        """Show both models that a span begins."""
        desk = self._desk
        retry, hands_back = desk.settings.retry, desk.settings.hands_back
        if not breaker_of(desk.large.model, retry).admits():
            raise CircuitOpenError(f"{desk.large.model.name} failed too often lately")
        desk.large.tell(desk.transcript.pieces)
        self._recovery.begin()
        # Half of the time that is left at most: the small model has to finish, too.
        now, deadline_s = time.monotonic(), desk.deadline_s
        soon_s = now + (deadline_s - now) / 2 if deadline_s and hands_back else deadline_s
        desk.until_s = desk.spans.ends_s(soon_s)
        started = desk.spans.start(desk.small if hands_back else None, desk.large)
        if hands_back:
            desk.handback = Handback(desk.small, desk.large, desk.settings.close_threshold)
            desk.handback.begin()
        return started

    def _order(self, order: WriteLarge) -> WriteOrder:
        settings, seat = self._desk.settings, self._desk.large
        tags, only_reasons = seat.marks.control_tokens, self._only_reasons
        in_chunks = settings.hands_back or only_reasons
        closing = frozenset(tags[1:] if settings.hands_back else ())
        closing |= seat.reasoning_ends if only_reasons else frozenset()
        return WriteOrder(
            max_tokens=min(order.max_tokens, settings.handback_tokens if in_chunks else 1 << 30),
            sampling=seat.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=seat.codec.end_tokens | closing,
            forbidden=tags[:1] if settings.hands_back else tags,
            guide=seat.guide,
            deadline_s=self._desk.until_s,
        )

    async def _written(self, order: WriteLarge) -> AsyncGenerator[Written, None]:
        """Yield what the large model writes; raise where no token comes in time."""
        desk = self._desk
        stall_s = desk.settings.retry.stall_s
        async with aclosing(desk.large.session.write(self._order(order))) as writing:
            while True:
                # A model that is merely slow ends by itself when its time is up.
                left = None if desk.until_s is None else desk.until_s + GRACE_S - time.monotonic()
                limit = min((max(0.0, s) for s in (stall_s, left) if s is not None), default=None)
                with anyio.move_on_after(limit) as scope:
                    written = await anext(writing, None)
                if scope.cancelled_caught:
                    raise ModelStalledError(
                        f"{desk.large.model.name} gave no token for {limit:.1f} s"
                    )
                if written is None:
                    return
                yield written

    async def _after_chunk(self, received: list[int], written: Written) -> list[Item]:
        """Check a chunk with the small model, keep what stands, close the span where it ends."""
        desk, ended = self._desk, written.end is End.STOP_TOKEN
        leaves = ended and self._only_reasons and written.stop_token in desk.large.reasoning_ends
        if not desk.settings.hands_back:
            items = self._keep(received)
            closed_by = "only_in_reasoning" if leaves else "stop"
            return [*items, *self.end(closed_by)] if ended and self._is_large else items
        tagged = written.stop_token in desk.large.marks.close_tokens
        ended_by = "only_in_reasoning" if leaves else "large" if tagged else "large_end"
        kept, closed = await desk.handback.read(received, ended_by if ended else None)
        items = self._keep(received[:kept], surplus=len(received) - kept)
        desk.small.told = len(desk.transcript.pieces)
        if closed is None and desk.is_late and not self._is_past_cap:
            closed = "deadline"
        if closed is not None and self._is_large:
            items += self.end(closed)
        return items

    @property
    def _only_reasons(self) -> bool:
        return self._desk.machine.policy.only_in_reasoning

    @property
    def _is_past_cap(self) -> bool:
        """Whether the policy's own cap on a span's time is reached: the machine closes it then."""
        longest = self._desk.machine.policy.max_span_s
        return longest is not None and self._desk.spans.age_s >= longest

    @property
    def _is_large(self) -> bool:
        return self._desk.machine.state is State.LARGE

    def _keep(self, token_ids: list[int], *, surplus: int = 0) -> list[Item]:
        """Let tokens stand; where a person may still drop them, they are held back."""
        desk, span = self._desk, self._desk.spans.current
        if self._review.may_ask("after"):
            span.held += token_ids
            items: list[Item] = []
            kept = len(token_ids)
        else:
            before = desk.transcript.tokens
            items = list(desk.transcript.add(desk.large.writer, token_ids))
            kept = desk.transcript.tokens - before
        surplus += len(token_ids) - kept
        span.surplus_tokens += surplus
        desk.large.told = len(desk.transcript.pieces)
        desk.machine.note(LargeWrote(kept, surplus, desk.spans.newly_read(desk.large)))
        if desk.transcript.stopped:
            desk.machine.note(TurnEnded("stop_string"))
        return items

    def _accept(self) -> list[Item]:
        """Let the span stand as it is now, and record it."""
        desk, span = self._desk, self._desk.spans.current
        items: list[Item] = []
        if span.held:
            before = desk.transcript.tokens
            items += desk.transcript.add(desk.large.writer, span.held)
            dropped = len(span.held) - (desk.transcript.tokens - before)
            if dropped:
                desk.machine.note(SpanReplaced(dropped, 0))
            desk.small.told = desk.large.told = len(desk.transcript.pieces)
        failed, closed_by = span.closed_by == FAILURE, span.closed_by
        desk.machine.note(LargeFailed() if failed else SpanClosed(closed_by))
        items.append(desk.spans.close())
        if desk.transcript.stopped:
            desk.machine.note(TurnEnded("stop_string"))
        elif closed_by in ("stop", "human_stop"):
            desk.machine.note(TurnEnded(closed_by))
        return items

    async def _recover(
        self, error: Exception, known: int, received: list[int]
    ) -> AsyncGenerator[Item, None]:
        """Keep what was received; then try again, fall back, or let the small model go on."""
        desk = self._desk
        failed = desk.spans.failed(error, desk.large.model.name)
        wait_s = self._recovery.wait_s(error, known + len(received))
        if received:
            for item in await self._after_chunk(received, Written(())):
                yield item
        if wait_s is not None:
            if self._is_large:
                yield self._recovery.retried(error, wait_s)
                await anyio.sleep(wait_s)
            return
        if desk.machine.state in (State.DONE, State.WAITING):
            return
        async with aclosing(self._recovery.fall_back(error, failed)) as falling:
            async for item in falling:
                yield item
        if desk.machine.degraded:
            if self._is_large:
                for item in self.end(FAILURE):
                    yield item
            yield desk.spans.fell_back("small")

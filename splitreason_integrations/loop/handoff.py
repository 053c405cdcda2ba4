"""The spans of one request: opened, handed over, handed back.

The small model reads along and says where a span ends; whatever fails on the way is for
`recovery`, whatever a person is asked for `review`.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import anyio

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.decide.machine import (
    LargeFailed,
    LargeWrote,
    ReplyEnded,
    SpanClosed,
    SpanOpened,
    SpanReplaced,
    State,
    WriteLarge,
)
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.errors import CircuitOpenError, ModelStalledError
from splitreason_integrations.humans.human import Answer
from splitreason_integrations.loop.approval import FAILURE, Approval
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.read_along import ReadAlong
from splitreason_integrations.loop.recovery import NextLarge, Recovery
from splitreason_integrations.loop.state import Item, RequestState

GRACE_S = 0.25
"""How long after its time a model may take to say that it has ended."""

_STREAM = 2


class Handoffs:
    """What happens between a trigger and the small model's going on."""

    def __init__(self, state: RequestState, next_large: NextLarge) -> None:
        self._state = state
        self._recovery = Recovery(state, next_large)
        self._approval = Approval(state)

    def open(self) -> list[Item]:
        """Open a span where the trigger fired; a person is asked first where a rule says so."""
        opened_by = str(self._state.settings.trigger)
        self._state.machine.note(SpanOpened(opened_by))
        return [self._state.spans.open(opened_by), *self._approval.put_question("before")]

    async def write(self, order: WriteLarge) -> AsyncGenerator[Item, None]:
        """Let the large model write, and the small one read along."""
        state = self._state
        if not state.spans.current.has_begun:
            async with aclosing(self._begin()) as beginning:
                async for item in beginning:
                    yield item
            return
        length, closed_by = state.large.session.length, None
        reading = self._read_along()
        async with (
            aclosing(self._written(order)) as writing,
            aclosing(reading.follow(writing, self._ended_by)) as stretches,
        ):
            async for checked in stretches:
                length, closed_by = length + len(checked.token_ids), checked.closed_by
                for item in self._keep(checked.token_ids):
                    yield item
                if not self._goes_on:
                    break
        async with aclosing(self._settle(reading, length, closed_by)) as settling:
            async for item in settling:
                yield item

    def end(self, closed_by: str) -> list[Item]:
        """End the span; a person is asked first where a rule says so."""
        span = self._state.spans.current
        span.closed_by = closed_by
        if self._state.settings.hands_back and span.has_begun:
            self._state.handback.end()
        return self._approval.put_question("after") or self._accept()

    def take(self, answer: Answer) -> list[Item]:
        """Do what a person answered."""
        was_written = bool(self._state.spans.current.closed_by)
        items = self._approval.take(answer)
        return [*items, *self._accept()] if was_written else items

    async def _begin(self) -> AsyncGenerator[Item, None]:
        """Show both models that a span begins."""
        try:
            started = self._start()
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            large = self._state.large
            length = large.session.length if large.is_open else 0
            async with aclosing(self._recover(error, length)) as recovering:
                async for item in recovering:
                    yield item
        else:
            yield started

    def _start(self) -> Item:
        state = self._state
        retry, hands_back = state.settings.retry, state.settings.hands_back
        if not breaker_of(state.large.model, retry).admits():
            raise CircuitOpenError(f"{state.large.model.name} failed too often lately")
        state.large.sync(state.transcript.pieces)
        self._recovery.begin()
        # Half of the time that is left at most: the small model has to finish, too.
        now, deadline_s = time.monotonic(), state.deadline_s
        soon_s = now + (deadline_s - now) / 2 if deadline_s and hands_back else deadline_s
        state.until_s = state.spans.ends_s(soon_s)
        started = state.spans.start(state.small if hands_back else None, state.large)
        if hands_back:
            state.handback = Handback(
                state.small, state.large, state.settings.close_threshold, retry
            )
            state.handback.begin()
        return started

    def _read_along(self) -> ReadAlong:
        settings = self._state.settings
        handback = self._state.handback if settings.hands_back else None
        return ReadAlong(handback, settings.handback_tokens)

    def _order(self, order: WriteLarge) -> WriteOrder:
        settings, participant = self._state.settings, self._state.large
        tags, only_reasons = participant.tags.control_tokens, self._only_reasons
        # A model that goes on at no cost says nothing in vain; another is asked once a span.
        in_chunks = settings.hands_back and participant.model.resumes
        in_chunks |= only_reasons and not participant.reasoning_ends
        closing = frozenset(tags[1:] if settings.hands_back else ())
        closing |= participant.reasoning_ends if only_reasons else frozenset()
        return WriteOrder(
            max_tokens=min(order.max_tokens, settings.handback_tokens if in_chunks else 1 << 30),
            sampling=participant.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=participant.codec.end_tokens | closing,
            forbidden=tags[:1] if settings.hands_back else tags,
            guide=participant.guide,
            deadline_s=self._state.until_s,
        )

    async def _written(self, order: WriteLarge) -> AsyncGenerator[Written, None]:
        """Yield what the large model writes; raise where no token comes in time."""
        state = self._state
        stall_s = state.settings.retry.stall_s
        async with aclosing(state.large.session.write(self._order(order))) as writing:
            while True:
                # A model that is merely slow ends by itself when its time is up, as does one whose
                # reader was slow.
                left = None if state.until_s is None else state.until_s - time.monotonic()
                grace = None if left is None else max(0.0, left) + GRACE_S
                limit = min((s for s in (stall_s, grace) if s is not None), default=None)
                with anyio.move_on_after(limit) as scope:
                    written = await anext(writing, None)
                if scope.cancelled_caught:
                    raise ModelStalledError(
                        f"{state.large.model.name} gave no token for {limit:.1f} s"
                    )
                if written is None:
                    return
                yield written

    def _ended_by(self, written: Written) -> str | None:
        """Return how the large model ended the span, where it did."""
        large = self._state.large
        if written.end is not End.STOP_TOKEN:
            return None
        if self._only_reasons and written.stop_token in large.reasoning_ends:
            return "only_in_reasoning"
        if not self._state.settings.hands_back:
            return "stop"
        return "large" if written.stop_token in large.tags.close_tokens else "large_end"

    async def _settle(
        self, reading: ReadAlong, length: int, closed_by: str | None
    ) -> AsyncGenerator[Item, None]:
        """Drop what was written in vain; end the span where it ends, or see to a failure."""
        state, failure = self._state, reading.failure
        if failure is None:
            breaker_of(state.large.model, state.settings.retry).succeeded()
            self._drop(state.large.cut(length))
        else:
            self._drop(reading.surplus)
        if closed_by is None and self._is_too_late:
            closed_by = "deadline"
        if failure is not None:
            async with aclosing(self._recover(failure, length, closed_by)) as recovering:
                async for item in recovering:
                    yield item
        else:
            for item in self._end_where(closed_by):
                yield item

    def _end_where(self, closed_by: str | None) -> list[Item]:
        """End the reply or the span, where what stands now ends it."""
        if self._state.transcript.stopped:
            self._state.machine.note(ReplyEnded("stop_string"))
            return []
        return [] if closed_by is None else self.end(closed_by)

    @property
    def _goes_on(self) -> bool:
        """Whether the large model may write on behind what it wrote."""
        state = self._state
        goes_on = state.machine.policy.opens_in(state.transcript.channel)
        return goes_on and not state.transcript.stopped

    @property
    def _is_too_late(self) -> bool:
        """Whether the span's time is up by the request's deadline, and who goes on is the small."""
        state = self._state
        return state.settings.hands_back and state.is_late and not self._is_past_cap

    @property
    def _only_reasons(self) -> bool:
        return self._state.machine.policy.only_in_reasoning

    @property
    def _is_past_cap(self) -> bool:
        """Whether the policy's own cap on a span's time is reached: the machine closes it then."""
        longest = self._state.machine.policy.max_span_s
        return longest is not None and self._state.spans.age_s >= longest

    @property
    def _is_large(self) -> bool:
        return self._state.machine.state is State.LARGE

    def _keep(self, token_ids: Sequence[int]) -> list[Item]:
        """Let tokens stand; where a person may still drop them, they are held back."""
        state, span = self._state, self._state.spans.current
        if self._approval.may_ask("after"):
            span.held += token_ids
            items: list[Item] = []
            kept = len(token_ids)
        else:
            before = state.transcript.tokens
            items = list(state.transcript.add(state.large.writer, token_ids))
            kept = state.transcript.tokens - before
        state.large.synced_upto = len(state.transcript.pieces)
        if state.settings.hands_back:
            state.small.synced_upto = len(state.transcript.pieces)
        self._count(kept, surplus=len(token_ids) - kept)
        return items

    def _drop(self, surplus: int) -> None:
        if surplus:
            self._count(0, surplus=surplus)

    def _count(self, kept: int, *, surplus: int) -> None:
        state = self._state
        state.spans.current.surplus_tokens += surplus
        state.machine.note(LargeWrote(kept, surplus, state.spans.newly_read(state.large)))

    def _accept(self) -> list[Item]:
        """Let the span stand as it is now, and record it."""
        state, span = self._state, self._state.spans.current
        items: list[Item] = []
        if span.held:
            before = state.transcript.tokens
            items += state.transcript.add(state.large.writer, span.held)
            dropped = len(span.held) - (state.transcript.tokens - before)
            if dropped:
                state.machine.note(SpanReplaced(dropped, 0))
            state.small.synced_upto = state.large.synced_upto = len(state.transcript.pieces)
        failed, closed_by = span.closed_by == FAILURE, span.closed_by
        state.machine.note(LargeFailed() if failed else SpanClosed(closed_by))
        items.append(state.spans.close())
        if state.transcript.stopped:
            state.machine.note(ReplyEnded("stop_string"))
        elif closed_by in ("stop", "human_stop"):
            state.machine.note(ReplyEnded(closed_by))
        return items

    async def _recover(
        self, error: Exception, length: int, closed_by: str | None = None
    ) -> AsyncGenerator[Item, None]:
        """Try again, fall back, or let the small model go on; `length` tokens stand in the session.

        The span may have ended, by the small model's word or the clock's, before the failure.
        """
        state = self._state
        failed = state.spans.failed(error, state.large.model.name)
        wait_s = self._recovery.wait_s(error, length)
        for item in self._end_where(closed_by):
            yield item
        if wait_s is not None:
            if self._is_large:
                yield self._recovery.retried(error, wait_s)
                await anyio.sleep(wait_s)
            return
        if state.machine.state in (State.DONE, State.WAITING):
            return
        async with aclosing(self._recovery.fall_back(error, failed)) as falling:
            async for item in falling:
                yield item
        if state.machine.degraded:
            if self._is_large:
                for item in self.end(FAILURE):
                    yield item
            yield state.spans.fell_back("small")

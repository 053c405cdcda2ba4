"""One request: carries out the machine's orders on two sessions.

Both sessions are brought along token by token and never rebuilt. Whatever ends the request, an
error or a cancellation included, `close` frees both caches.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from splitreason_integrations import events
from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.handback import Handback
from splitreason_integrations.machine import (
    CloseSpan,
    Finish,
    LargeFailed,
    LargeWrote,
    Machine,
    SmallWrote,
    SpanClosed,
    SpanOpened,
    State,
    TurnEnded,
    WriteLarge,
    WriteSmall,
)
from splitreason_integrations.records import Author, Delta
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.seat import Seat
from splitreason_integrations.spans import SpanBook
from splitreason_integrations.transcript import Transcript
from splitreason_integrations.triggers import Trigger
from splitreason_integrations.watch import SmallWatch

Item = Delta | events.Event

_STREAMS = {Author.SMALL: 1, Author.LARGE: 2}


@dataclass(frozen=True, slots=True)
class Settings:
    """What one request runs with, all defaults filled in."""

    request_id: str
    trigger: Trigger
    small_sampling: Sampling
    large_sampling: Sampling
    seed: int
    close_threshold: float
    handback_tokens: int
    on_large_failure: str
    started_s: float


class Turn:
    """The loop over one request's orders."""

    def __init__(
        self, settings: Settings, machine: Machine, small: Seat, large: Seat, transcript: Transcript
    ) -> None:
        self.settings = settings
        self.machine = machine
        self.small = small
        self.large = large
        self.transcript = transcript
        self.spans = SpanBook(settings.request_id, machine, large, transcript)
        self._handback = Handback(small, large, settings.close_threshold)
        self._watch = SmallWatch(
            settings.trigger, small.marks, small.model.codec, seed=settings.seed
        )
        self._reported = 0
        deadline = machine.policy.deadline_s
        self._deadline_s = None if deadline is None else settings.started_s + deadline

    @property
    def small_cost_usd(self) -> float:
        """What the small model's tokens cost, the reading of spans included."""
        return self.small.model.prices.cost_usd(
            input_tokens=self.small.read_tokens, output_tokens=self.machine.ledger.small
        )

    async def items(self) -> AsyncGenerator[Item, None]:
        """Write the reply; yield its deltas and events in order."""
        while True:
            pieces = self.transcript.pieces
            self.machine.at(
                time.monotonic() - self.settings.started_s,
                span_s=self.spans.age_s,
                unread=self.large.unread_tokens(pieces) + len(self.large.marks.open_tokens),
                context_room=min(self.small.room(pieces), self.large.room(pieces)),
                channel=self.transcript.channel,
            )
            order = self.machine.order()
            for cap in self.machine.exhausted[self._reported :]:
                yield self.spans.exhausted(cap)
            self._reported = len(self.machine.exhausted)
            match order:
                case Finish(reason):
                    for item in self._finish(reason):
                        yield item
                    return
                case CloseSpan(cap):
                    yield self._close_span(cap)
                case WriteSmall():
                    async with aclosing(self._write_small(order)) as writing:
                        async for item in writing:
                            yield item
                case WriteLarge():
                    async with aclosing(self._write_large(order)) as writing:
                        async for item in writing:
                            yield item

    def close(self) -> None:
        """Free both caches."""
        self.small.close()
        self.large.close()

    async def _write_small(self, order: WriteSmall) -> AsyncGenerator[Item, None]:
        hands_back = self.settings.trigger.hands_back
        if order.may_open and not hands_back:
            yield self._open_span()
            return
        self.small.tell(self.transcript.pieces)
        writing_order = self._small_order(order, may_open=order.may_open and hands_back)
        held: list[int] = []
        async with aclosing(self.small.session.write(writing_order)) as writing:
            async for written in writing:
                held += written.token_ids
                unsure = self._watch.held if written.end in (None, End.WATCH) else 0
                unsure = min(unsure, len(held))
                now, held = held[: len(held) - unsure], held[len(held) - unsure :]
                if written.end is End.WATCH and held:
                    now, held = now + self._drop_partial_tag(len(held)), []
                for delta in self._keep_small(now):
                    yield delta
                if self.machine.state is State.DONE:
                    return
                # The reasoning may have ended since the order was given.
                may_open_here = self.machine.policy.opens_in(self.transcript.channel)
                if written.end is End.STOP_TOKEN:
                    self.machine.note(TurnEnded("stop"))
                elif written.end is End.WATCH and self._watch.opened and may_open_here:
                    yield self._open_span()

    def _small_order(self, order: WriteSmall, *, may_open: bool) -> WriteOrder:
        marks, uses_tag = self.small.marks, self.settings.trigger.uses_tag
        same_author = bool(self.transcript.pieces) and self.transcript.author is Author.SMALL
        self._watch.resume(self.transcript.line, may_open=may_open, goes_on=same_author)
        return WriteOrder(
            max_tokens=order.max_tokens,
            sampling=self.settings.small_sampling,
            seed=self.settings.seed,
            stream=_STREAMS[Author.SMALL],
            stop_tokens=self.small.model.codec.end_tokens,
            forbidden=marks.control_tokens[1:] if may_open and uses_tag else marks.control_tokens,
            watch=self._watch if may_open or self._watch.reads_tags_as_text else None,
            guide=self.small.guide,
            deadline_s=self._deadline_s,
        )

    def _drop_partial_tag(self, held: int) -> list[int]:
        """Cut the begun text tag off the small session; return ids of text before the tag."""
        session, spare = self.small.session, self._watch.spare
        session.truncate(session.length - held)
        ids = self.small.model.codec.encode(spare) if spare else []
        session.extend(ids)
        return ids

    def _keep_small(self, token_ids: Sequence[int]) -> list[Delta]:
        before = self.transcript.tokens
        deltas = self.transcript.add(Author.SMALL, token_ids)
        self.small.told = len(self.transcript.pieces)
        self.machine.note(SmallWrote(self.transcript.tokens - before))
        if self.transcript.stopped:
            self.machine.note(TurnEnded("stop_string"))
        return deltas

    def _open_span(self) -> Item:
        opened_by = str(self.settings.trigger)
        self.machine.note(SpanOpened(opened_by))
        return self.spans.open(opened_by)

    async def _write_large(self, order: WriteLarge) -> AsyncGenerator[Item, None]:
        hands_back = self.settings.trigger.hands_back
        received: list[int] = []
        written = Written(())
        try:
            if self.spans.current.read_tokens is None:
                yield self._start_span()
                return
            async with aclosing(self.large.session.write(self._large_order(order))) as writing:
                async for written in writing:
                    received += written.token_ids
                    if written.end is None and not hands_back:
                        for delta in self._keep_large(received):
                            yield delta
                        received = []
                        if self.machine.state is State.DONE:
                            return
        except Exception as error:  # noqa: BLE001 - any failure of the large model is survived
            for item in await self._fail(error, received):
                yield item
            return
        for item in await self._after_chunk(received, written):
            yield item

    def _start_span(self) -> Item:
        self.large.tell(self.transcript.pieces)
        if self.settings.trigger.hands_back:
            self._handback = Handback(self.small, self.large, self.settings.close_threshold)
            self._handback.begin()
        return self.spans.start()

    def _large_order(self, order: WriteLarge) -> WriteOrder:
        hands_back, tags = self.settings.trigger.hands_back, self.large.marks.control_tokens
        only_reasons = self.machine.policy.only_in_reasoning
        chunk = self.settings.handback_tokens if hands_back or only_reasons else order.max_tokens
        closing = frozenset(tags[1:] if hands_back else ())
        closing |= self.large.reasoning_ends if only_reasons else frozenset()
        return WriteOrder(
            max_tokens=min(order.max_tokens, chunk),
            sampling=self.settings.large_sampling,
            seed=self.settings.seed,
            stream=_STREAMS[Author.LARGE],
            stop_tokens=self.large.model.codec.end_tokens | closing,
            forbidden=tags[:1] if hands_back else tags,
            guide=self.large.guide,
            deadline_s=self.spans.ends_s(self._deadline_s),
        )

    async def _after_chunk(self, received: list[int], written: Written) -> Sequence[Item]:
        """Check a chunk with the small model, keep what stands, close the span where it ends."""
        ended = written.end is End.STOP_TOKEN
        leaves = ended and written.stop_token in self.large.reasoning_ends
        if not self.settings.trigger.hands_back:
            items: list[Item] = list(self._keep_large(received))
            if self.machine.state is State.DONE:
                return items
            if leaves:
                items.append(self._close_span("only_in_reasoning"))
            elif ended:
                self.machine.note(TurnEnded("stop"))
            return items
        tagged = written.stop_token in self.large.marks.close_tokens
        ended_by = "only_in_reasoning" if leaves else "large" if tagged else "large_end"
        kept, closed_by = await self._handback.read(received, ended_by if ended else None)
        items = list(self._keep_large(received[:kept], surplus=len(received) - kept))
        self.small.told = len(self.transcript.pieces)
        if closed_by is not None and self.machine.state is not State.DONE:
            items.append(self._close_span(closed_by))
        return items

    def _keep_large(self, token_ids: Sequence[int], *, surplus: int = 0) -> list[Delta]:
        before = self.transcript.tokens
        deltas = self.transcript.add(Author.LARGE, token_ids)
        kept = self.transcript.tokens - before
        surplus += len(token_ids) - kept
        self.spans.current.surplus_tokens += surplus
        self.large.told = len(self.transcript.pieces)
        self.machine.note(LargeWrote(kept, surplus, self.spans.newly_read()))
        if self.transcript.stopped:
            self.machine.note(TurnEnded("stop_string"))
        return deltas

    async def _fail(self, error: Exception, received: list[int]) -> Sequence[Item]:
        """Keep what was received and let the small model go on."""
        if self.settings.on_large_failure == "raise":
            raise LargeModelError(
                f"{self.large.model.name} failed: {error}; set on_large_failure='small' to let "
                "the small model finish instead"
            ) from error
        failed = self.spans.failed(error)
        self._handback.lose_large()
        items = list(await self._after_chunk(received, Written(()))) if received else []
        if self.machine.state is State.DONE:
            return items
        items.append(failed)
        if self.machine.state is State.LARGE:
            items.append(self._close_span("failure", fact=LargeFailed()))
        self.machine.degraded = True
        return [*items, self.spans.fell_back()]

    def _close_span(self, closed_by: str, fact: SpanClosed | LargeFailed | None = None) -> Item:
        if self.settings.trigger.hands_back and self.spans.current.read_tokens is not None:
            self._handback.end()
        self.machine.note(fact or SpanClosed(closed_by))
        return self.spans.close(closed_by)

    def _finish(self, reason: str) -> Sequence[Item]:
        items: list[Item] = list(self.transcript.finish())
        if self.spans.is_open:
            items.append(self.spans.close(reason))
        if self.machine.state is not State.DONE:
            self.machine.note(TurnEnded(reason))
        return items

"""One request: carries out the machine's orders on two sessions.

Both sessions are brought along token by token and never rebuilt. Whatever ends the request, an
error or a cancellation included, `close` frees both caches.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from splitreason_integrations import events
from splitreason_integrations.backends.base import End, Model, Prompt, Session, WriteOrder, Written
from splitreason_integrations.bridge import Bridge
from splitreason_integrations.errors import LargeModelError
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
from splitreason_integrations.markers import Marks, marks_of
from splitreason_integrations.records import Author, Delta, Piece, SpanRecord
from splitreason_integrations.sampling import Sampling
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


class Seat:
    """A model at work on this request: its session, its tags, and how far it has been told."""

    def __init__(self, author: Author, model: Model, prompt: Prompt, marks: Marks) -> None:
        self.author = author
        self.model = model
        self.marks = marks
        self._prompt = prompt
        self._session: Session | None = None
        self.told = 0

    @property
    def session(self) -> Session:
        """The session, opened when it is first needed."""
        if self._session is None:
            self._session = self.model.open(self._prompt.token_ids)
        return self._session

    @property
    def opened(self) -> bool:
        """Whether a session was ever opened."""
        return self._session is not None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of this model's prompt."""
        return len(self._prompt.token_ids)

    @property
    def reply_tokens(self) -> int:
        """Tokens of the session after the prompt."""
        return self.session.length - self.prompt_tokens

    def close(self) -> None:
        """Free the cache."""
        if self._session is not None:
            self._session.close()


@dataclass(slots=True)
class OpenSpan:
    """The span being written."""

    opened_by: str
    started_s: float
    read_before: int
    usd_before: float
    start_token: int
    piece: int
    surplus: int = 0
    small_knows_end: bool = False


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
        self.spans: list[SpanRecord] = []
        self._span: OpenSpan | None = None
        self._to_small = Bridge(large.model.codec, small.model.codec)
        self._to_large = Bridge(small.model.codec, large.model.codec)
        self._watch = SmallWatch(
            settings.trigger, small.marks, small.model.codec, seed=settings.seed, may_open=False
        )
        self._reported = 0
        deadline = machine.policy.deadline_s
        self._deadline_s = None if deadline is None else settings.started_s + deadline

    async def items(self) -> AsyncGenerator[Item, None]:
        """Write the reply; yield its deltas and events in order."""
        while True:
            self._look_at_clock()
            order = self.machine.order()
            for cap in self.machine.exhausted[self._reported :]:
                yield events.BudgetExhausted(self.settings.request_id, cap, len(self.spans))
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

    @property
    def small_cost_usd(self) -> float:
        """What the small model's tokens cost, the reading of spans included."""
        if not self.small.opened:
            return 0.0
        return self.small.model.prices.cost_usd(
            input_tokens=self.small.session.read, output_tokens=self.machine.ledger.small
        )

    def _look_at_clock(self) -> None:
        unread = self.large.session.unread if self.large.opened else self.large.prompt_tokens
        pieces = self.transcript.pieces[self.large.told :]
        unread += sum(len(p.token_ids) for p in pieces if p.author is not Author.LARGE)
        self.machine.at(
            time.monotonic() - self.settings.started_s,
            unread=unread + len(self.large.marks.open_tokens),
        )

    # The small model writes.

    async def _write_small(self, order: WriteSmall) -> AsyncGenerator[Item, None]:
        trigger, small = self.settings.trigger, self.small
        may_open = order.may_open
        if may_open and not trigger.hands_back and not self.spans:
            yield self._open_span()
            return
        may_open = may_open and trigger.hands_back
        marks = small.marks
        self._watch.resume(self.transcript.line, may_open=may_open)
        written_order = WriteOrder(
            max_tokens=order.max_tokens,
            sampling=self.settings.small_sampling,
            seed=self.settings.seed,
            stream=_STREAMS[Author.SMALL],
            stop_tokens=small.model.codec.end_tokens,
            forbidden=marks.control_tokens[1:] if may_open else marks.control_tokens,
            watch=self._watch if may_open or (marks and not marks.control) else None,
            deadline_s=self._deadline_s,
        )
        self._catch_up(small, self._to_small)
        held: list[int] = []
        async with aclosing(small.session.write(written_order)) as writing:
            async for written in writing:
                held += written.token_ids
                opening = written.end is End.WATCH
                keep = len(held) - (self._watch.held if written.end in (None, End.WATCH) else 0)
                now, held = held[:keep], held[keep:]
                if opening and held:
                    now += self._drop_partial_tag(len(held))
                for delta in self._keep(Author.SMALL, now):
                    yield delta
                small.told = len(self.transcript.pieces)
                if self.machine.state is State.DONE or self._end_small(written):
                    return
                if opening:
                    yield self._open_span()

    def _drop_partial_tag(self, held: int) -> list[int]:
        """Cut the begun text tag off the small session; return ids of text before the tag."""
        session, codec = self.small.session, self.small.model.codec
        session.truncate(session.length - held)
        spare = codec.encode(self._watch.spare) if self._watch.spare else []
        session.extend(spare)
        return spare

    def _end_small(self, written: Written) -> bool:
        if written.end is End.STOP_TOKEN:
            self.machine.note(TurnEnded("stop"))
            return True
        return written.end in (End.LENGTH, End.DEADLINE)

    # The large model writes.

    def _open_span(self) -> events.Event:
        opened_by = str(self.settings.trigger)
        self.machine.note(SpanOpened(opened_by))
        self._span = OpenSpan(
            opened_by=opened_by,
            started_s=time.monotonic(),
            read_before=-1,
            usd_before=self.machine.ledger.usd,
            start_token=self.transcript.tokens,
            piece=len(self.transcript.pieces),
        )
        return events.HandoffRequested(
            self.settings.request_id, len(self.spans), self.transcript.tokens, opened_by
        )

    def _start_span(self, span: OpenSpan) -> events.Event:
        large = self.large
        self._catch_up(large, self._to_large)
        if self.settings.trigger.hands_back:
            large.session.extend(large.marks.open_tokens)
            self.small.session.extend(self.small.marks.open_tokens)
        span.read_before = large.session.read
        return events.HandoffStarted(
            self.settings.request_id, len(self.spans), span.start_token, large.model.name
        )

    async def _write_large(self, order: WriteLarge) -> AsyncGenerator[Item, None]:
        span = self._current_span
        if span.read_before < 0:
            yield self._start_span(span)
            return
        large, hands_back = self.large, self.settings.trigger.hands_back
        chunk = self.settings.handback_tokens if hands_back else order.max_tokens
        tags = large.marks.control_tokens
        closing = frozenset(tags[1:]) if hands_back else frozenset()
        writing_order = WriteOrder(
            max_tokens=min(order.max_tokens, chunk),
            sampling=self.settings.large_sampling,
            seed=self.settings.seed,
            stream=_STREAMS[Author.LARGE],
            stop_tokens=large.model.codec.end_tokens | closing,
            forbidden=tags[:1] if hands_back else tags,
            deadline_s=self._deadline_s,
        )
        received: list[int] = []
        try:
            async with aclosing(large.session.write(writing_order)) as writing:
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

    async def _after_chunk(self, received: list[int], written: Written) -> Sequence[Item]:
        """Check a chunk with the small model, keep what stands, close the span where it ends."""
        if not self.settings.trigger.hands_back:
            items: list[Item] = list(self._keep_large(received))
            if self.machine.state is not State.DONE and written.end is End.STOP_TOKEN:
                self.machine.note(TurnEnded("stop"))
            return items
        ended_by = None
        if written.end is End.STOP_TOKEN:
            tagged = written.stop_token in self.large.marks.close_tokens
            ended_by = "large" if tagged else "large_end"
        kept, closed_by = await self._hand_back(received, ended_by)
        items = list(self._keep_large(received[:kept], surplus=len(received) - kept))
        self.small.told = len(self.transcript.pieces)
        if closed_by is not None and self.machine.state is not State.DONE:
            items.append(self._close_span(closed_by))
        return items

    async def _hand_back(self, chunk: list[int], ended_by: str | None) -> tuple[int, str | None]:
        """Bring the small session up to date; return how many tokens stand, and who closed."""
        session, marks = self.small.session, self.small.marks
        start = session.length
        carried = self._to_small.carry(chunk)
        session.extend(carried.token_ids)
        if not marks or not carried.token_ids:
            return len(chunk), ended_by
        tail = carried.token_ids + (marks.close_tokens if ended_by else ())
        session.extend(tail[len(carried.token_ids) :])
        probabilities = (await session.read_probabilities(marks.close_tokens[0]))[-len(tail) :]
        for mine, theirs in carried.boundaries:
            at_end = ended_by is not None and mine == len(chunk)
            if at_end or probabilities[theirs - 1] <= self.settings.close_threshold:
                continue
            session.truncate(start + theirs)
            if await self._confirm_close(probabilities[theirs - 1]):
                self.large.session.truncate(self.large.session.length - (len(chunk) - mine))
                self._to_small = Bridge(self.large.model.codec, self.small.model.codec)
                return mine, "small"
            session.extend(tail[theirs:])
        self._current_span.small_knows_end = ended_by is not None
        return len(chunk), ended_by

    async def _confirm_close(self, first: float) -> bool:
        """Continue over the rest of a close tag of several tokens; leave it in the session."""
        session, tag = self.small.session, self.small.marks.close_tokens
        start = session.length
        probability = first
        for at, token in enumerate(tag[1:]):
            session.extend(tag[at : at + 1])
            probability *= (await session.read_probabilities(token))[-1]
        session.truncate(start)
        return probability > self.settings.close_threshold

    async def _fail(self, error: Exception, received: list[int]) -> Sequence[Item]:
        """Keep what was received and let the small model go on."""
        if self.settings.on_large_failure == "raise":
            raise LargeModelError(
                f"{self.large.model.name} failed: {error}; set on_large_failure='small' to let "
                "the small model finish instead"
            ) from error
        items: list[Item] = []
        if received:
            items += await self._after_chunk(received, Written((), None))
        number = len(self.spans)
        if self.machine.state is State.LARGE:
            items.append(
                events.HandoffFailed(self.settings.request_id, number, type(error).__name__)
            )
            items.append(self._close_span("failure", fact=LargeFailed()))
            items.append(events.HandoffFellBack(self.settings.request_id, number, "small"))
        else:
            self.machine.degraded = True
        return items

    # What both share.

    @property
    def _current_span(self) -> OpenSpan:
        assert self._span is not None, "no span is open"
        return self._span

    def _catch_up(self, seat: Seat, bridge: Bridge) -> None:
        """Tell a session what the other author wrote since it was last told."""
        for piece in self.transcript.pieces[seat.told :]:
            if piece.author is not seat.author:
                seat.session.extend(bridge.carry(piece.token_ids).token_ids)
        seat.told = len(self.transcript.pieces)

    def _keep(self, author: Author, token_ids: Sequence[int]) -> list[Delta]:
        """Add tokens to the reply; note a stop string that ended it."""
        before = self.transcript.tokens
        deltas = self.transcript.add(author, token_ids)
        kept = self.transcript.tokens - before
        if author is Author.SMALL:
            self.machine.note(SmallWrote(kept))
            if self.transcript.stopped:
                self.machine.note(TurnEnded("stop_string"))
        return deltas

    def _keep_large(self, token_ids: Sequence[int], *, surplus: int = 0) -> list[Delta]:
        span = self._current_span
        before = self.transcript.tokens
        deltas = self._keep(Author.LARGE, token_ids)
        kept = self.transcript.tokens - before
        surplus += len(token_ids) - kept
        read = self.large.session.read - span.read_before
        span.read_before = self.large.session.read
        span.surplus += surplus
        self.large.told = len(self.transcript.pieces)
        self.machine.note(LargeWrote(kept, surplus, read))
        if self.transcript.stopped:
            self.machine.note(TurnEnded("stop_string"))
        return deltas

    def _close_span(self, closed_by: str, fact: SpanClosed | LargeFailed | None = None) -> Item:
        if self.settings.trigger.hands_back:
            self._close_tags()
        if self.machine.state is State.LARGE:
            self.machine.note(fact or SpanClosed(closed_by))
        return self._record_span(closed_by)

    def _close_tags(self) -> None:
        span = self._current_span
        if span.read_before < 0:
            return
        for seat in (self.small, self.large):
            if seat is self.large or not span.small_knows_end:
                seat.session.extend(seat.marks.close_tokens)

    def _record_span(self, closed_by: str) -> events.HandoffFinished:
        span = self._current_span
        self._span = None
        ids = [t for piece in self.transcript.pieces[span.piece :] for t in piece.token_ids]
        record = SpanRecord(
            start_token=span.start_token,
            tokens=len(ids),
            text=self.large.model.codec.decode(ids),
            opened_by=span.opened_by,
            closed_by=closed_by,
            latency_s=time.monotonic() - span.started_s,
            cost_usd=self.machine.ledger.usd - span.usd_before,
            surplus_tokens=span.surplus,
        )
        self.spans.append(record)
        return events.HandoffFinished(
            self.settings.request_id,
            len(self.spans) - 1,
            record.start_token,
            record.tokens,
            record.text,
            closed_by,
            record.latency_s,
            record.cost_usd,
        )

    def _finish(self, reason: str) -> Sequence[Item]:
        items: list[Item] = []
        items += self.transcript.finish()
        if self._span is not None:
            items.append(self._record_span(reason))
        if self.machine.state is not State.DONE:
            self.machine.note(TurnEnded(reason))
        return items


def seat(author: Author, model: Model, prompt: Prompt, *, as_text: bool) -> Seat:
    """Return a model's seat; `as_text` lets it write the tags as plain text."""
    return Seat(author, model, prompt, marks_of(model.codec, as_text=as_text))


__all__ = ["Item", "Piece", "Seat", "Settings", "Turn", "seat"]

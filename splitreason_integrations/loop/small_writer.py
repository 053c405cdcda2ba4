"""Lets the small model write, and opens a span where the trigger fires."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import anyio

from splitreason_integrations.backends.base import End, Wanted, WriteOrder, Written
from splitreason_integrations.decide.machine import ReplyEnded, SmallDropped, SmallWrote
from splitreason_integrations.decide.orders import WriteSmall
from splitreason_integrations.decide.resilience import Attempts
from splitreason_integrations.decide.triggers import Needs
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.loop.handoff import Handoffs
from splitreason_integrations.loop.large_reader import FIRED, LargeReader
from splitreason_integrations.loop.pace import BalancedPace
from splitreason_integrations.loop.prefill import Prefill
from splitreason_integrations.loop.read_along import ReadAlong
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.loop.transcript import SMALL
from splitreason_integrations.loop.trigger_watch import TriggerWatch
from splitreason_integrations.loop.writing import TimedWriting, Writing, in_chunks
from splitreason_integrations.records import Author

_STREAM = 1
_OPENED, _DOUBT, _STOPPED, _PAUSED = "opened", "doubt", "stop", "paused"


class SmallWriter:
    """The small model's writing between two spans.

    Args:
        state: the request's state.
        handoffs: opens spans.

    """

    def __init__(self, state: RequestState, handoffs: Handoffs) -> None:
        self._state = state
        self._handoffs = handoffs
        self._prefill = Prefill(state, asks_first=handoffs.may_ask_first)
        self._watch = TriggerWatch(
            state.settings.trigger,
            state.small.looked_for,
            state.small.codec,
            seed=state.settings.seed,
        )
        self._attempts = Attempts(state.settings.retry)
        self._pace = BalancedPace(state.settings.handback_tokens)
        self._writing: Writing | None = None
        self._reader: LargeReader | None = None
        self._kept_length = self._began_at = 0
        self._began_s = 0.0

    async def write(self, order: WriteSmall) -> None:
        """Begin to write, or open a span at once where nothing but the trigger decides."""
        state, hands_back = self._state, self._state.settings.hands_back
        if order.may_open and not hands_back:
            self._handoffs.open()
            return
        reads = order.may_open and Needs.LARGE in state.settings.trigger.needs
        if reads and state.unreached:
            self._handoffs.report_unreached()
            return
        state.small.sync(state.transcript.pieces)
        self._kept_length = self._began_at = state.small.session.length
        self._began_s = time.monotonic()
        write_order = self._write_order(order, may_open=order.may_open and hands_back)
        self._reader = LargeReader(state, self._watch) if reads else None
        if not reads:
            self._prefill.start_if_due()
        session = state.small.session
        writing = (
            in_chunks(session, write_order, lambda: self._pace.chunk_tokens)
            if reads and state.small.model.resumes
            else session.write(write_order)
        )
        if self._watch.reads_tags_as_text:
            writing = self._without_tags(writing)
        timed = TimedWriting(writing, model=state.small.model.name, stall_s=None, until_s=None)
        self._writing = (
            ReadAlong(timed, self._reader, self._pace, self._ended_by)
            if self._reader is not None
            else Writing(timed, self._ended_by)
        )
        state.writing = self._writing
        await self._write_on()

    async def _write_on(self) -> None:
        """Keep the next tokens; act on how the writing ended, if it did."""
        state, writing = self._state, self._writing
        assert writing is not None, "the small model is writing"
        try:
            checked = await writing.next()
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            await self._stop(writing)
            self._reading_failed(error)
            return
        if checked is None:
            await self._settle(writing, None)
            return
        self._keep(checked.token_ids)
        if state.transcript.stopped or checked.closed_by is not None:
            ended_by = None if state.transcript.stopped else checked.closed_by
            state.then(lambda: self._settle(writing, ended_by))
            return
        if state.transcript.reader.is_hidden:
            # A thought that may not begin was cut off.
            state.then(lambda: self._settle(writing, _PAUSED))
            return
        if self._reader is None and not writing.has_ended:
            self._prefill.start_if_due()
        elif self._reader is not None and not self._may_open_here:
            # The reasoning has ended: nothing behind it is to be read.
            state.then(lambda: self._settle(writing, _PAUSED))
            return
        state.then(self._write_on)

    async def _settle(self, writing: Writing, ended_by: str | None) -> None:
        """End the writing, and do what its end asks for; a server that failed is asked again."""
        state, watch = self._state, self._watch
        await self._stop(writing)
        if writing.failure is not None and ended_by is None:
            await self._retry(writing.failure)
        elif state.transcript.stopped or ended_by is None:
            return
        elif ended_by == FIRED and self._reader is not None:
            self._open(self._reader.span_tokens)
        elif ended_by == _OPENED:
            self._open(watch.span_tokens)
        elif ended_by == _DOUBT:
            await self._confirm()
        elif ended_by == _STOPPED:
            state.machine.note(ReplyEnded("stop"))

    async def _stop(self, writing: Writing) -> None:
        """Stop the writing; drop what the small model wrote behind its end."""
        state = self._state
        await state.stop_writing()
        if self._reader is not None:
            seconds = time.monotonic() - self._began_s
            self._pace.note_steps(seconds, state.small.session.length - self._began_at)
            self._reader.leave()
        # Behind a stop string nothing is written any more: the session stays as it is.
        dropped = 0 if state.transcript.stopped else state.small.cut(self._kept_length)
        if dropped:
            self._watch.forget_held()
            state.machine.note(SmallDropped(dropped))

    async def _retry(self, error: Exception) -> None:
        """Wait until the small model may be asked again; raise what ends the request."""
        state = self._state
        if not isinstance(error, ModelCallError):
            raise error
        wait_s = self._attempts.note_failure(error, until_s=state.deadline_s)
        if wait_s is None:
            raise error
        await anyio.sleep(wait_s)

    def _reading_failed(self, error: Exception) -> None:
        assert self._reader is not None, "what a reader fails with is raised"
        self._handoffs.reading_failed(error, self._reader.length)

    def _open(self, exact_tokens: int | None) -> None:
        if self._may_open_here:
            self._handoffs.open(exact_tokens)

    @property
    def _may_open_here(self) -> bool:
        """Whether spans open in this part of the reply, which may be another than at the order."""
        return self._state.may_open_here

    async def _confirm(self) -> None:
        """Open a span if the whole of a tag of several tokens is probable enough here."""
        session, tag = self._state.small.session, self._state.small.tags.open_tokens
        length, probability = session.length, 1.0
        for at, token in enumerate(tag[1:]):
            session.extend(tag[at : at + 1])
            facts = await session.read_facts(Wanted(probability_of=token), last=1)
            probability *= facts[0].next_probability
        session.truncate(length)
        if self._watch.confirm(probability):
            self._open(self._watch.span_tokens)

    def _ended_by(self, written: Written) -> str | None:
        """Return how the small model ended its writing; None where it did not."""
        watch = self._watch
        if written.end is End.WATCH and watch.doubt is not None:
            return _DOUBT
        if written.end is End.WATCH or written.stop_token in watch.opening:
            return _OPENED if watch.opened or written.stop_token in watch.opening else _PAUSED
        if written.end is End.STOP_TOKEN:
            return _STOPPED
        return None if written.end is None else _PAUSED

    async def _without_tags(
        self, writing: AsyncGenerator[Written, None]
    ) -> AsyncGenerator[Written, None]:
        """Yield what is written, but for tokens that may yet become part of a tag."""
        watch, unsure = self._watch, list[int]()
        async with aclosing(writing):
            async for written in writing:
                received = [*unsure, *written.token_ids]
                held = watch.held if written.end in (None, End.WATCH) else 0
                cut = len(received) - min(held, len(received))
                kept, unsure = received[:cut], received[cut:]
                if written.end is End.WATCH and unsure:
                    kept, unsure = kept + self._drop_partial_tag(len(unsure)), []
                yield replace(written, token_ids=tuple(kept))

    def _keep(self, token_ids: Sequence[int]) -> None:
        state = self._state
        kept = state.write(SMALL, token_ids)
        if kept:
            self._kept_length += kept
            self._count_attempts_anew()
        state.small.mark_synced(state.transcript.pieces)
        if self._reader is not None and self._reader.reads:
            state.large.mark_synced(state.transcript.pieces)
        state.machine.note(SmallWrote(kept))
        if state.transcript.stopped:
            state.machine.note(ReplyEnded(state.transcript.ended_by))

    def _count_attempts_anew(self) -> None:
        if self._attempts.count > 1:
            self._attempts = Attempts(self._state.settings.retry)

    def _write_order(self, order: WriteSmall, *, may_open: bool) -> WriteOrder:
        state, settings, watch = self._state, self._state.settings, self._watch
        tags, uses_tag = state.small.looked_for, settings.trigger.uses_tag
        same_author = bool(state.transcript.pieces) and state.transcript.author is Author.SMALL
        watch.resume(state.transcript.tail, may_open=may_open, goes_on=same_author)
        opening = watch.opening if may_open else frozenset[int]()
        marks = tags.control_tokens[1:] if may_open and uses_tag else tags.control_tokens
        watches = (may_open and not opening) or watch.reads_tags_as_text
        return WriteOrder(
            max_tokens=order.max_tokens,
            sampling=state.small.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=state.small.codec.end_tokens | opening,
            forbidden=(*marks, *state.unwanted(state.small)),
            watch=watch if watches else None,
            guide=state.small.guide,
            deadline_s=state.deadline_s,
        )

    def _drop_partial_tag(self, unsure: int) -> list[int]:
        """Cut the begun text tag off the small session; return ids of text before the tag."""
        session, spare = self._state.small.session, self._watch.spare
        session.truncate(session.length - unsure)
        ids = self._state.small.codec.encode(spare) if spare else []
        session.extend(ids)
        return ids

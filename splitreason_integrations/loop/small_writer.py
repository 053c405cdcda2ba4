"""Lets the small model write, and opens a span where the trigger fires."""

from collections.abc import AsyncGenerator, Callable, Sequence

import anyio

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.decide.machine import ReplyEnded, SmallWrote, WriteSmall
from splitreason_integrations.decide.resilience import Attempts
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.loop.prefill import Prefill
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.loop.transcript import SMALL
from splitreason_integrations.loop.trigger_watch import TriggerWatch
from splitreason_integrations.records import Author

_STREAM = 1


class SmallWriter:
    """The small model's writing between two spans.

    Args:
        state: the request's state.
        open_span: called where a span opens.
        asks_first: whether a person may be asked before a span is written.

    """

    def __init__(
        self, state: RequestState, open_span: Callable[[], None], *, asks_first: bool
    ) -> None:
        self._state = state
        self._open_span = open_span
        self._prefill = Prefill(state, asks_first=asks_first)
        self._watch = TriggerWatch(
            state.settings.trigger, state.small.tags, state.small.codec, seed=state.settings.seed
        )
        self._attempts = Attempts(state.settings.retry)
        self._writing: AsyncGenerator[Written, None] | None = None
        self._kept_length = 0
        self._unsure: list[int] = []

    async def write(self, order: WriteSmall) -> None:
        """Begin to write, or open a span at once where nothing but the trigger decides."""
        state, hands_back = self._state, self._state.settings.hands_back
        if order.may_open and not hands_back:
            self._open_span()
            return
        state.small.sync(state.transcript.pieces)
        self._kept_length, self._unsure = state.small.session.length, []
        self._prefill.start_if_due()
        write_order = self._write_order(order, may_open=order.may_open and hands_back)
        self._writing = state.writing = state.small.session.write(write_order)
        await self._write_on()

    async def _write_on(self) -> None:
        """Take the next tokens; where the model's server fails, the next order goes on."""
        state = self._state
        assert self._writing is not None, "the small model is writing"
        try:
            written = await anext(self._writing, None)
        except ModelCallError as error:
            await state.stop_writing()
            wait_s = self._attempts.note_failure(error, until_s=state.deadline_s)
            if wait_s is None:
                raise
            self._watch.forget_held()
            state.small.cut(self._kept_length)
            await anyio.sleep(wait_s)
            return
        if written is None:
            await state.stop_writing()
            return
        self._take(written)
        if state.transcript.stopped:
            state.then(state.stop_writing)
            return
        if written.end is None:
            self._prefill.start_if_due()
        # Read to its end: a server says last how many tokens it has read.
        state.then(self._write_on)

    def _take(self, written: Written) -> None:
        """Keep what cannot belong to a tag; act on how the writing ended."""
        state, watch = self._state, self._watch
        received = [*self._unsure, *written.token_ids]
        unsure = watch.held if written.end in (None, End.WATCH) else 0
        cut = len(received) - min(unsure, len(received))
        kept, self._unsure = received[:cut], received[cut:]
        if written.end is End.WATCH and self._unsure:
            kept, self._unsure = kept + self._drop_partial_tag(len(self._unsure)), []
        self._keep(kept)
        if state.transcript.stopped:
            return
        opened = watch.opened or written.stop_token in watch.opening
        if written.end in (End.WATCH, End.STOP_TOKEN) and opened:
            # The reasoning may have ended since the order was given.
            if state.machine.policy.opens_in(state.transcript.channel):
                self._open_span()
        elif written.end is End.STOP_TOKEN:
            state.machine.note(ReplyEnded("stop"))

    def _keep(self, token_ids: Sequence[int]) -> None:
        state = self._state
        if token_ids:
            self._kept_length += len(token_ids)
            self._count_attempts_anew()
        kept = state.write(SMALL, token_ids)
        state.small.mark_synced(state.transcript.pieces)
        state.machine.note(SmallWrote(kept))
        if state.transcript.stopped:
            state.machine.note(ReplyEnded("stop_string"))

    def _count_attempts_anew(self) -> None:
        if self._attempts.count > 1:
            self._attempts = Attempts(self._state.settings.retry)

    def _write_order(self, order: WriteSmall, *, may_open: bool) -> WriteOrder:
        state, settings, watch = self._state, self._state.settings, self._watch
        tags, uses_tag = state.small.tags, settings.trigger.uses_tag
        same_author = bool(state.transcript.pieces) and state.transcript.author is Author.SMALL
        watch.resume(state.transcript.line, may_open=may_open, goes_on=same_author)
        opening = watch.opening if may_open else frozenset[int]()
        watches = (may_open and not opening) or watch.reads_tags_as_text
        return WriteOrder(
            max_tokens=order.max_tokens,
            sampling=state.small.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=state.small.codec.end_tokens | opening,
            forbidden=tags.control_tokens[1:] if may_open and uses_tag else tags.control_tokens,
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

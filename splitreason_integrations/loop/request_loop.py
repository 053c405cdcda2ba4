"""One request: carries out the machine's orders on its sessions.

The sessions are brought along token by token and never rebuilt. Whatever ends the request, an
error or a cancellation included, closing the state frees the caches.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import anyio

from splitreason_integrations import events
from splitreason_integrations.backends.base import End, WriteOrder
from splitreason_integrations.decide.machine import (
    AwaitAnswer,
    CloseSpan,
    Finish,
    Order,
    ReplyEnded,
    SmallWrote,
    State,
    WriteLarge,
    WriteSmall,
)
from splitreason_integrations.decide.resilience import Attempts
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.humans.human import Answer, Paused
from splitreason_integrations.loop.approval import question_of
from splitreason_integrations.loop.handoff import Handoffs
from splitreason_integrations.loop.prefill import Prefill
from splitreason_integrations.loop.recovery import NextLarge
from splitreason_integrations.loop.snapshot import take_snapshot
from splitreason_integrations.loop.state import Item, RequestState
from splitreason_integrations.loop.transcript import SMALL
from splitreason_integrations.loop.trigger_watch import TriggerWatch
from splitreason_integrations.records import Author, Delta

_STREAM = 1


class RequestLoop:
    """The loop over one request's orders. `paused` is set where it waits for a person."""

    def __init__(self, state: RequestState, next_large: NextLarge) -> None:
        self.state = state
        self.paused: Paused | None = None
        self._handoffs = Handoffs(state, next_large)
        self._prefill = Prefill(state)
        self._watch = TriggerWatch(
            state.settings.trigger,
            state.small.tags,
            state.small.codec,
            seed=state.settings.seed,
        )
        self._answer: Answer | None = None
        self._reported = 0
        self._attempts = Attempts(state.settings.retry)
        self._stands = 0

    @property
    def small_cost_usd(self) -> float:
        """What the small model's tokens cost, the reading of spans included."""
        return self.state.small.model.prices.cost_usd(
            input_tokens=self.state.small.read_tokens, output_tokens=self.state.machine.ledger.small
        )

    def give(self, answer: Answer) -> None:
        """Give the answer to the question that the request was put aside with."""
        self._answer = answer

    async def items(self) -> AsyncGenerator[Item, None]:
        """Write the reply; yield its deltas and events in order."""
        while True:
            order = self._next_order()
            for item in self._news():
                yield item
            async with aclosing(self._carry_out(order)) as doing:
                async for item in doing:
                    yield item
            if self.paused or (
                self.state.machine.state is State.DONE and isinstance(order, Finish)
            ):
                return

    def _carry_out(self, order: Order) -> AsyncGenerator[Item, None]:
        match order:
            case WriteSmall():
                return self._write_small(order)
            case WriteLarge():
                return self._handoffs.write(order)
            case AwaitAnswer():
                return self._take_answer()
            case CloseSpan(cap):
                return _each(self._handoffs.end(cap))
            case Finish(reason):
                return _each(self._finish(reason))

    def _next_order(self) -> Order:
        state, pieces = self.state, self.state.transcript.pieces
        state.machine.at(
            state.elapsed_s,
            span_s=state.spans.age_s,
            channel=state.transcript.channel,
            unread=state.large.unread_tokens(pieces) + len(state.large.tags.open_tokens),
            context_room=min(state.small.room(pieces), state.large.room(pieces)),
        )
        return state.machine.order()

    def _news(self) -> list[Item]:
        """Return the events of caps that were reached since this was last asked."""
        exhausted = self.state.machine.exhausted
        new, self._reported = exhausted[self._reported :], len(exhausted)
        return [self.state.spans.exhausted(cap) for cap in new]

    async def _take_answer(self) -> AsyncGenerator[Item, None]:
        """Let the person answer; put the request aside where that takes longer."""
        state, check = self.state, self.state.settings.human_check
        question, started_s = question_of(state), time.monotonic()
        answer, self._answer = self._answer, None
        if answer is None:
            assert check is not None, "who asks has somebody to ask"
            put_aside = Paused(question, take_snapshot(state), check.timeout_s, check.on_timeout)
            answer = await check.answer(put_aside)
            if answer is None:
                self.paused = put_aside
                return
        waited_s = time.monotonic() - started_s
        state.waited_s += waited_s
        yield events.HumanAnswered(
            question.request_id,
            question.span,
            question.moment,
            answer.decision,
            answer.by,
            answer.at,
            waited_s,
        )
        for item in self._handoffs.take(answer):
            yield item

    async def _write_small(self, order: WriteSmall) -> AsyncGenerator[Item, None]:
        """Let the small model write; where its server fails, the next order has it write on."""
        state, hands_back = self.state, self.state.settings.hands_back
        if order.may_open and not hands_back:
            for item in self._handoffs.open():
                yield item
            return
        state.small.sync(state.transcript.pieces)
        self._stands = state.small.session.length
        self._prefill.go_on()
        writing_order = self._small_order(order, may_open=order.may_open and hands_back)
        try:
            async with aclosing(self._written_by_small(writing_order)) as items:
                async for item in items:
                    yield item
        except ModelCallError as error:
            wait_s = self._attempts.wait_s(error, until_s=state.deadline_s)
            if wait_s is None:
                raise
            self._watch.forget_held()
            state.small.cut(self._stands)
            await anyio.sleep(wait_s)

    async def _written_by_small(self, writing_order: WriteOrder) -> AsyncGenerator[Item, None]:
        state, held = self.state, list[int]()
        async with aclosing(state.small.session.write(writing_order)) as writing:
            async for written in writing:
                held += written.token_ids
                unsure = self._watch.held if written.end in (None, End.WATCH) else 0
                unsure = min(unsure, len(held))
                now, held = held[: len(held) - unsure], held[len(held) - unsure :]
                if written.end is End.WATCH and held:
                    now, held = now + self._drop_partial_tag(len(held)), []
                if now:
                    self._stands += len(now)
                    self._attempts = Attempts(state.settings.retry)
                for delta in self._keep(now):
                    yield delta
                if state.machine.state is State.DONE:
                    return
                if written.end is None:
                    self._prefill.go_on()
                # The reasoning may have ended since the order was given.
                may_open_here = state.machine.policy.opens_in(state.transcript.channel)
                opens = self._watch.opened or written.stop_token in self._watch.opening
                if written.end in (End.WATCH, End.STOP_TOKEN) and opens:
                    for item in self._handoffs.open() if may_open_here else ():
                        yield item
                elif written.end is End.STOP_TOKEN:
                    state.machine.note(ReplyEnded("stop"))

    def _small_order(self, order: WriteSmall, *, may_open: bool) -> WriteOrder:
        state, settings = self.state, self.state.settings
        tags, uses_tag = state.small.tags, settings.trigger.uses_tag
        same_author = bool(state.transcript.pieces) and state.transcript.author is Author.SMALL
        self._watch.resume(state.transcript.line, may_open=may_open, goes_on=same_author)
        opening = self._watch.opening if may_open else frozenset[int]()
        watches = (may_open and not opening) or self._watch.reads_tags_as_text
        return WriteOrder(
            max_tokens=order.max_tokens,
            sampling=state.small.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=state.small.codec.end_tokens | opening,
            forbidden=tags.control_tokens[1:] if may_open and uses_tag else tags.control_tokens,
            watch=self._watch if watches else None,
            guide=state.small.guide,
            deadline_s=state.deadline_s,
        )

    def _drop_partial_tag(self, held: int) -> list[int]:
        """Cut the begun text tag off the small session; return ids of text before the tag."""
        session, spare = self.state.small.session, self._watch.spare
        session.truncate(session.length - held)
        ids = self.state.small.codec.encode(spare) if spare else []
        session.extend(ids)
        return ids

    def _keep(self, token_ids: Sequence[int]) -> list[Delta]:
        state = self.state
        before = state.transcript.tokens
        deltas = state.transcript.add(SMALL, token_ids)
        state.small.synced_upto = len(state.transcript.pieces)
        state.machine.note(SmallWrote(state.transcript.tokens - before))
        if state.transcript.stopped:
            state.machine.note(ReplyEnded("stop_string"))
        return deltas

    def _finish(self, reason: str) -> list[Item]:
        """End the reply; a span that a person has still to accept is settled first."""
        state, items = self.state, list[Item]()
        if state.spans.is_open and state.spans.current.held:
            return self._handoffs.end(reason)
        items += state.transcript.finish()
        if state.spans.is_open:
            state.spans.current.closed_by = reason
            items.append(state.spans.close())
        if state.machine.state is not State.DONE:
            state.machine.note(ReplyEnded(reason))
        return items


async def _each(items: Sequence[Item]) -> AsyncGenerator[Item, None]:
    for item in items:
        yield item

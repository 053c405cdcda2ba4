"""One request: carries out the machine's orders on its sessions.

The sessions are brought along token by token and never rebuilt. Whatever ends the request, an
error or a cancellation included, closing the desk frees the caches.
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
    SmallWrote,
    State,
    TurnEnded,
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
from splitreason_integrations.loop.state import Desk, Item
from splitreason_integrations.loop.transcript import SMALL
from splitreason_integrations.loop.trigger_watch import SmallWatch
from splitreason_integrations.records import Author, Delta

_STREAM = 1


class Turn:
    """The loop over one request's orders. `paused` is set where it waits for a person."""

    def __init__(self, desk: Desk, next_large: NextLarge) -> None:
        self.desk = desk
        self.paused: Paused | None = None
        self._handoffs = Handoffs(desk, next_large)
        self._prefill = Prefill(desk)
        self._watch = SmallWatch(
            desk.settings.trigger,
            desk.small.marks,
            desk.small.codec,
            seed=desk.settings.seed,
        )
        self._answer: Answer | None = None
        self._reported = 0
        self._attempts = Attempts(desk.settings.retry)
        self._stands = 0

    @property
    def small_cost_usd(self) -> float:
        """What the small model's tokens cost, the reading of spans included."""
        return self.desk.small.model.prices.cost_usd(
            input_tokens=self.desk.small.read_tokens, output_tokens=self.desk.machine.ledger.small
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
            if self.paused or (self.desk.machine.state is State.DONE and isinstance(order, Finish)):
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
        desk, pieces = self.desk, self.desk.transcript.pieces
        desk.machine.at(
            desk.elapsed_s,
            span_s=desk.spans.age_s,
            channel=desk.transcript.channel,
            unread=desk.large.unread_tokens(pieces) + len(desk.large.marks.open_tokens),
            context_room=min(desk.small.room(pieces), desk.large.room(pieces)),
        )
        return desk.machine.order()

    def _news(self) -> list[Item]:
        """Return the events of caps that were reached since this was last asked."""
        exhausted = self.desk.machine.exhausted
        new, self._reported = exhausted[self._reported :], len(exhausted)
        return [self.desk.spans.exhausted(cap) for cap in new]

    async def _take_answer(self) -> AsyncGenerator[Item, None]:
        """Let the person answer; put the request aside where that takes longer."""
        desk, check = self.desk, self.desk.settings.human_check
        question, started_s = question_of(desk), time.monotonic()
        answer, self._answer = self._answer, None
        if answer is None:
            assert check is not None, "who asks has somebody to ask"
            state = take_snapshot(desk)
            put_aside = Paused(question, state, check.timeout_s, check.on_timeout)
            answer = await check.answer(put_aside)
            if answer is None:
                self.paused = put_aside
                return
        waited_s = time.monotonic() - started_s
        desk.waited_s += waited_s
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
        desk, hands_back = self.desk, self.desk.settings.hands_back
        if order.may_open and not hands_back:
            for item in self._handoffs.open():
                yield item
            return
        desk.small.tell(desk.transcript.pieces)
        self._stands = desk.small.session.length
        self._prefill.go_on()
        writing_order = self._small_order(order, may_open=order.may_open and hands_back)
        try:
            async with aclosing(self._written_by_small(writing_order)) as items:
                async for item in items:
                    yield item
        except ModelCallError as error:
            wait_s = self._attempts.wait_s(error, until_s=desk.deadline_s)
            if wait_s is None:
                raise
            self._watch.forget_held()
            desk.small.cut(self._stands)
            await anyio.sleep(wait_s)

    async def _written_by_small(self, writing_order: WriteOrder) -> AsyncGenerator[Item, None]:
        desk, held = self.desk, list[int]()
        async with aclosing(desk.small.session.write(writing_order)) as writing:
            async for written in writing:
                held += written.token_ids
                unsure = self._watch.held if written.end in (None, End.WATCH) else 0
                unsure = min(unsure, len(held))
                now, held = held[: len(held) - unsure], held[len(held) - unsure :]
                if written.end is End.WATCH and held:
                    now, held = now + self._drop_partial_tag(len(held)), []
                if now:
                    self._stands += len(now)
                    self._attempts = Attempts(desk.settings.retry)
                for delta in self._keep(now):
                    yield delta
                if desk.machine.state is State.DONE:
                    return
                if written.end is None:
                    self._prefill.go_on()
                # The reasoning may have ended since the order was given.
                may_open_here = desk.machine.policy.opens_in(desk.transcript.channel)
                opens = self._watch.opened or written.stop_token in self._watch.opening
                if written.end in (End.WATCH, End.STOP_TOKEN) and opens:
                    for item in self._handoffs.open() if may_open_here else ():
                        yield item
                elif written.end is End.STOP_TOKEN:
                    desk.machine.note(TurnEnded("stop"))

    def _small_order(self, order: WriteSmall, *, may_open: bool) -> WriteOrder:
        desk, settings = self.desk, self.desk.settings
        marks, uses_tag = desk.small.marks, settings.trigger.uses_tag
        same_author = bool(desk.transcript.pieces) and desk.transcript.author is Author.SMALL
        self._watch.resume(desk.transcript.line, may_open=may_open, goes_on=same_author)
        opening = self._watch.opening if may_open else frozenset[int]()
        watches = (may_open and not opening) or self._watch.reads_tags_as_text
        return WriteOrder(
            max_tokens=order.max_tokens,
            sampling=desk.small.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=desk.small.codec.end_tokens | opening,
            forbidden=marks.control_tokens[1:] if may_open and uses_tag else marks.control_tokens,
            watch=self._watch if watches else None,
            guide=desk.small.guide,
            deadline_s=desk.deadline_s,
        )

    def _drop_partial_tag(self, held: int) -> list[int]:
        """Cut the begun text tag off the small session; return ids of text before the tag."""
        session, spare = self.desk.small.session, self._watch.spare
        session.truncate(session.length - held)
        ids = self.desk.small.codec.encode(spare) if spare else []
        session.extend(ids)
        return ids

    def _keep(self, token_ids: Sequence[int]) -> list[Delta]:
        desk = self.desk
        before = desk.transcript.tokens
        deltas = desk.transcript.add(SMALL, token_ids)
        desk.small.told = len(desk.transcript.pieces)
        desk.machine.note(SmallWrote(desk.transcript.tokens - before))
        if desk.transcript.stopped:
            desk.machine.note(TurnEnded("stop_string"))
        return deltas

    def _finish(self, reason: str) -> list[Item]:
        """End the reply; a span that a person has still to accept is settled first."""
        desk, items = self.desk, list[Item]()
        if desk.spans.is_open and desk.spans.current.held:
            return self._handoffs.end(reason)
        items += desk.transcript.finish()
        if desk.spans.is_open:
            desk.spans.current.closed_by = reason
            items.append(desk.spans.close())
        if desk.machine.state is not State.DONE:
            desk.machine.note(TurnEnded(reason))
        return items


async def _each(items: Sequence[Item]) -> AsyncGenerator[Item, None]:
    for item in items:
        yield item

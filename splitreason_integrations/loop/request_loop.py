"""One request: carries out the machine's orders, one step at a time, and yields what they emit.

Sessions are extended token by token and never rebuilt. However the request ends, by an error or a
cancellation too, `RequestState.aclose` stops both models and frees their caches.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from splitreason_integrations import events
from splitreason_integrations.decide.machine import ReplyEnded, SmallWrote, State
from splitreason_integrations.decide.orders import (
    AwaitAnswer,
    CloseReasoning,
    CloseSpan,
    Finish,
    Order,
    WriteLarge,
    WriteSmall,
)
from splitreason_integrations.humans.human import Answer, Paused
from splitreason_integrations.loop.approval import question_of
from splitreason_integrations.loop.completion import completion_of
from splitreason_integrations.loop.handoff import Handoffs
from splitreason_integrations.loop.recovery import NextLarge
from splitreason_integrations.loop.small_writer import SmallWriter
from splitreason_integrations.loop.snapshot import take_snapshot
from splitreason_integrations.loop.state import Item, RequestState
from splitreason_integrations.loop.transcript import CLOSER
from splitreason_integrations.records import Completion
from splitreason_integrations.text.thoughts import closing_tokens


async def run_request(
    prepare: Callable[[], Awaitable["RequestLoop"]],
) -> AsyncGenerator[Item | Completion | Paused, None]:
    """Prepare a request and write its reply; yield its items, then the Completion or the Paused."""
    loop = await prepare()
    outbox = loop.state.outbox
    try:
        while True:
            while outbox:
                yield outbox.popleft()
            if loop.is_over:
                break
            failure = await loop.step()
            if failure is not None:
                while outbox:
                    yield outbox.popleft()
                raise failure
    finally:
        await loop.state.aclose()
    yield loop.paused or completion_of(loop.state)


class RequestLoop:
    """The loop over one request's orders.

    Attributes:
        state: everything that changes while the request runs.
        paused: the paused request, where it waits for a person; None otherwise.

    """

    def __init__(
        self, state: RequestState, next_large: NextLarge, *, answer: Answer | None = None
    ) -> None:
        self.state = state
        self.paused: Paused | None = None
        self._handoffs = Handoffs(state, next_large)
        self._small = SmallWriter(state, self._handoffs)
        self._answer = answer
        # Those that a paused request had reached were reported before the pause.
        self._reported_caps = len(state.machine.exhausted)
        self._reported_settings: set[tuple[str, str]] = set()
        self._finished = False

    @property
    def is_over(self) -> bool:
        """Whether the reply is finished, or waits for a person."""
        return self._finished or self.paused is not None

    async def step(self) -> Exception | None:
        """Do the next piece of work; return its failure, which what it emitted goes before."""
        try:
            if self.state.steps:
                await self.state.steps.popleft()()
            else:
                order = self._next_order()
                self._report_caps()
                self._report_left_out()
                await self._carry_out(order)
        except Exception as error:  # noqa: BLE001 - raised again once the outbox is empty
            return error
        return None

    async def _carry_out(self, order: Order) -> None:
        match order:
            case WriteSmall(most) if self.state.ends_reasoning and self.state.transcript.reasons:
                self._close_reasoning(most)
            case WriteSmall():
                await self._small.write(order)
            case WriteLarge():
                await self._handoffs.write(order)
            case AwaitAnswer():
                await self._take_answer()
            case CloseReasoning(most):
                self._close_reasoning(most)
            case CloseSpan(cap):
                self._handoffs.end(cap)
            case Finish(reason):
                self._finish(reason)

    def _next_order(self) -> Order:
        state, pieces = self.state, self.state.transcript.pieces
        unread, room = 0, state.small.room(pieces)
        if (large := state.large_model) is not None:
            unread = large.unread_tokens(pieces) + len(large.tags.open_tokens)
            room = min(room, large.room(pieces))
        if state.transcript.lacks_answer and state.small.guide is None:
            # What may not be written there holds for one token; a form rules it out by itself.
            room = min(room, 1)
        state.machine.at(
            state.elapsed_s,
            span_s=state.spans.age_s,
            channel=state.transcript.channel,
            unread=unread,
            context_room=room,
            reasoning_left=state.reasoning_left,
        )
        return state.machine.order()

    def _report_caps(self) -> None:
        """Emit an event for each cap that was reached since the last call."""
        exhausted = self.state.machine.exhausted
        new, self._reported_caps = exhausted[self._reported_caps :], len(exhausted)
        for cap in new:
            self.state.emit(self.state.spans.exhausted(cap))

    def _report_left_out(self) -> None:
        """Emit an event for each setting that a server was not sent, once for a model."""
        state = self.state
        writers = [one for one in (state.small, state.large_model) if one is not None]
        settings = {(one.model.name, setting) for one in writers for setting in one.left_out}
        for model, setting in sorted(settings - self._reported_settings):
            state.emit(state.spans.left_out(model, setting))
        self._reported_settings |= settings

    async def _take_answer(self) -> None:
        """Let the person answer; pause the request where the answer comes later."""
        state, check = self.state, self.state.settings.human_check
        question, asked_s = question_of(state), time.monotonic()
        answer, self._answer = self._answer, None
        if answer is None:
            assert check is not None, "who asks has somebody to ask"
            paused = Paused(question, take_snapshot(state), check.timeout_s, check.on_timeout)
            paused = paused.signed(state.settings.pause_keys)
            answer = await check.answer(paused)
            if answer is None:
                self.paused = paused
                return
        waited_s = time.monotonic() - asked_s
        state.waited_s += waited_s
        answered = (answer.decision, answer.by, answer.at, waited_s)
        state.emit(
            events.HumanAnswered(question.request_id, question.span, question.moment, *answered)
        )
        await self._handoffs.take(answer)

    def _close_reasoning(self, most: int) -> None:
        """End the reasoning as the small model's family does, in at most so many tokens."""
        state, request = self.state, self.state.request
        # A thought that began again was ended before: what follows has to be the answer.
        may_call = request.tools and not state.transcript.reader.is_hidden
        answers = not (request.must_call or may_call)
        tail = state.transcript.tail if state.transcript.ends_whole else ""
        ids = closing_tokens(state.small.codec, tail, answers=answers)[:most]
        state.write(CLOSER, ids)
        state.machine.note(SmallWrote(len(ids)))
        if state.transcript.stopped:
            state.machine.note(ReplyEnded(state.transcript.ended_by))

    def _finish(self, reason: str) -> None:
        """End the reply; a span that a person has still to accept is settled first."""
        state = self.state
        if state.spans.is_open and state.spans.current.held:
            self._handoffs.end(reason)
            return
        state.emit(*state.transcript.finish())
        if state.spans.is_open:
            state.emit(state.spans.close(reason))
        if state.machine.state is not State.DONE:
            state.machine.note(ReplyEnded(reason))
        self._finished = True

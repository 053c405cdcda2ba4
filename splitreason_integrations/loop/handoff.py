"""The spans of one request: opened, handed off, handed back.

The small model reads along and finds where a span ends; `Recovery` handles failures, `Approval`
the questions to people.
"""

import time
from collections.abc import Sequence

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.decide.machine import (
    LargeFailed,
    LargeWrote,
    ReplyEnded,
    SpanClosed,
    SpanOpened,
    SpanReplaced,
    State,
)
from splitreason_integrations.decide.orders import WriteLarge
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.errors import CircuitOpenError
from splitreason_integrations.humans.human import Answer
from splitreason_integrations.loop.approval import FAILURE, Approval
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.pace import SparingPace, TurnsPace
from splitreason_integrations.loop.read_along import ReadAlong
from splitreason_integrations.loop.recovery import NextLarge, Recovery
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.loop.whole_reply import without_answer, without_marks
from splitreason_integrations.loop.writing import TimedWriting, Writing, in_chunks

_STREAM = 2


class Handoffs:
    """Everything between a trigger that fires and the small model's going on."""

    def __init__(self, state: RequestState, next_large: NextLarge) -> None:
        self._state = state
        self._recovery = Recovery(state, next_large, degrade=self._degrade)
        self._approval = Approval(state)
        self._writing: Writing | None = None
        self._length = self._failed_at = 0
        self._closed_by: str | None = None

    @property
    def may_ask_first(self) -> bool:
        """Whether a person may be asked before a span is written."""
        return self._approval.may_ask("before")

    def open(self, exact_tokens: int | None = None) -> None:
        """Open a span where the trigger fired; a person is asked first where a rule says so."""
        opened_by = str(self._state.settings.trigger)
        self._state.machine.note(SpanOpened(opened_by))
        self._state.emit(self._state.spans.open(opened_by, exact_tokens))
        # Before a question: a pause keeps no errors, and a person is asked about who really writes.
        if self._state.unreached:
            self._recovery.start_without_unreached()
        self._approval.ask_if_due("before")

    async def write(self, order: WriteLarge) -> None:
        """Begin the span, or let the large model write in it and the small one read along."""
        state, left = self._state, self._exact_left
        if not state.spans.current.has_begun:
            self._begin()
        elif left == 0:
            self.end("exact_length")
        else:
            self._length, self._closed_by = state.large.session.length, None
            self._writing = state.writing = self._start_writing(order)
            await self._read_on()

    def report_unreached(self) -> None:
        """Emit which large models could not be loaded, and who works in their place."""
        if self._state.unreached:
            self._recovery.start_without_unreached()

    def reading_failed(self, error: Exception, length: int) -> None:
        """Recover from a large model that failed while it read along, outside of any span.

        Args:
            error: what it failed with.
            length: how many tokens of its session are known to be right.

        """
        state = self._state
        state.span_ends_s = state.deadline_s
        if length > self._failed_at:
            self._recovery.begin()
        self._failed_at = length
        failed = state.spans.failed(error, state.large.model.name)
        wait_s = self._recovery.plan_retry(error, length)
        if wait_s is None:
            self._recovery.fall_back(error, failed)
        else:
            self._recovery.retry_after(error, wait_s)

    def end(self, closed_by: str) -> None:
        """End the span; a person is asked first where a rule says so."""
        span = self._state.spans.current
        span.end(closed_by)
        if self._state.settings.hands_back and span.has_begun:
            self._state.handback.end()
        if not self._approval.ask_if_due("after"):
            self._accept()

    async def take(self, answer: Answer) -> None:
        """Do what a person answered."""
        was_written = bool(self._state.spans.current.closed_by)
        await self._approval.take(answer)
        if was_written:
            self._accept()

    def _begin(self) -> None:
        """Show both models that a span begins."""
        state = self._state
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            self._recover(error, state.large.session.length if state.large.is_open else 0)

    def _start(self) -> None:
        state = self._state
        retry, hands_back = state.settings.retry, state.settings.hands_back
        if not breaker_of(state.large.model, retry).admits():
            raise CircuitOpenError(f"{state.large.model.name} failed too often lately")
        state.large.sync(state.transcript.pieces)
        self._recovery.begin()
        # Half of the time that is left at most: the small model has to finish, too.
        now, deadline_s = time.monotonic(), state.deadline_s
        soon_s = now + (deadline_s - now) / 2 if deadline_s and hands_back else deadline_s
        state.span_ends_s = state.spans.ends_s(soon_s)
        started = state.spans.start(state.small if hands_back else None, state.large)
        if hands_back:
            close = state.settings.close if state.spans.current.exact_tokens is None else None
            state.handback = Handback(state.small, state.large, close, retry, until_s=deadline_s)
            state.handback.begin(state.transcript.tail)
        state.emit(started)

    def _start_writing(self, order: WriteLarge) -> Writing:
        state, settings, large = self._state, self._state.settings, self._state.large
        asked, chunk_tokens = self._write_order(order), settings.handback_tokens
        waits = settings.hands_back and large.model.resumes
        checks = self._only_reasons and not large.reasoning_ends
        writing = TimedWriting(
            in_chunks(large.session, asked, lambda: chunk_tokens)
            if waits or checks
            else large.session.write(asked),
            model=large.model.name,
            stall_s=settings.retry.stall_s,
            until_s=state.span_ends_s,
        )
        if not settings.hands_back:
            return Writing(writing, self._ended_by)
        pace = TurnsPace(chunk_tokens) if waits else SparingPace(chunk_tokens)
        return ReadAlong(writing, state.handback, pace, self._ended_by)

    def _write_order(self, order: WriteLarge) -> WriteOrder:
        settings, large = self._state.settings, self._state.large
        tags, only_reasons = large.looked_for.control_tokens, self._only_reasons
        is_marked = settings.hands_back and bool(large.tags)
        closing = frozenset(tags[1:] if is_marked else ())
        closing |= large.reasoning_ends if only_reasons else frozenset()
        return WriteOrder(
            max_tokens=min(order.max_tokens, self._exact_left or order.max_tokens),
            sampling=large.sampling,
            seed=settings.seed,
            stream=_STREAM,
            stop_tokens=large.codec.end_tokens | closing,
            forbidden=(*(tags[:1] if is_marked else tags), *self._state.unwanted(large)),
            guide=large.guide,
            deadline_s=self._state.span_ends_s,
        )

    async def _read_on(self) -> None:
        """Keep the next tokens that the small model has read; settle the writing at its end."""
        assert self._writing is not None, "the large model is writing"
        checked = await self._writing.next()
        if checked is not None:
            kept = self._keep(checked.token_ids)
            self._length += kept
            self._closed_by = checked.closed_by if kept == len(checked.token_ids) else None
            self._state.then(self._read_on if self._goes_on else self._stop_and_settle)
        else:
            await self._stop_and_settle()

    async def _stop_and_settle(self) -> None:
        """Stop the writing, then do what its end asks for."""
        assert self._writing is not None, "the large model was writing"
        await self._state.stop_writing()
        if self._state.settings.hands_back:
            self._state.handback.drop_undecided()
            if self._state.transcript.reader.is_hidden:
                self._read_again()
        self._settle(self._writing)

    def _read_again(self) -> None:
        """Have the small model read the span without the thought that was cut off."""
        span, pieces = self._state.spans.current, self._state.transcript.pieces
        self._state.handback.begin_again(span.lengths_before[0], span.first_piece, pieces)

    def _ended_by(self, written: Written) -> str | None:
        """Return how the large model ended the span; None where it did not."""
        large = self._state.large
        if written.end is not End.STOP_TOKEN:
            return None
        if self._only_reasons and written.stop_token in large.reasoning_ends:
            return "only_in_reasoning"
        if not self._state.settings.hands_back:
            return "stop"
        return "large" if written.stop_token in large.looked_for.close_tokens else "large_end"

    def _settle(self, writing: Writing) -> None:
        """Drop surplus tokens; end the span where it ends, or recover from a failure."""
        state, failure = self._state, writing.failure
        ends = failure is None and self._closed_by == "stop" and not state.spans.current.held
        if failure is None:
            breaker_of(state.large.model, state.settings.retry).succeeded()
            self._drop(state.large.cut(self._length))
        else:
            self._drop(writing.surplus)
        if self._closed_by is None and self._is_too_late:
            self._closed_by = "deadline"
        if ends and (lacking := without_answer(state)) is not None:
            # Somebody has to write one.
            failure, self._closed_by, state.ends_reasoning = lacking, None, True
        elif ends and (misread := without_marks(state)) is not None:
            self._recovery.report(misread)
        if failure is None:
            self._end_where_due(self._closed_by)
        else:
            self._recover(failure, self._length, self._closed_by)

    def _end_where_due(self, closed_by: str | None) -> None:
        """End the reply or the span, where what was kept ends it."""
        if self._state.transcript.stopped:
            self._state.machine.note(ReplyEnded(self._state.transcript.ended_by))
        elif closed_by is not None:
            self.end(closed_by)

    @property
    def _goes_on(self) -> bool:
        """Whether the large model may write on after what it wrote."""
        state = self._state
        goes_on = state.machine.policy.opens_in(state.transcript.channel)
        return goes_on and not (state.transcript.stopped or state.transcript.reader.is_hidden)

    @property
    def _is_too_late(self) -> bool:
        """Whether the request's deadline ends the span, and the small model goes on."""
        state = self._state
        return state.settings.hands_back and state.is_late and not self._is_past_cap

    @property
    def _exact_left(self) -> int | None:
        """How many tokens are left to write of a span of an exact length; None for others."""
        exact = self._state.spans.current.exact_tokens
        return None if exact is None else max(0, exact - self._state.machine.ledger.span)

    @property
    def _only_reasons(self) -> bool:
        return self._state.machine.policy.only_in_reasoning

    @property
    def _is_past_cap(self) -> bool:
        """Whether the policy's own cap on a span's time is reached: the machine closes it then."""
        longest = self._state.machine.policy.max_span_s
        return longest is not None and self._state.spans.age_s >= longest

    def _keep(self, token_ids: Sequence[int]) -> int:
        """Keep tokens of the large model; hold them back where a person may still drop them.

        Returns how many its session keeps: a thought that may not begin is cut off there.
        """
        state = self._state
        if self._approval.may_ask("after"):
            state.spans.current.hold(token_ids)
            kept = len(token_ids)
        else:
            kept = state.write(state.large.writer, token_ids)
        self._mark_synced()
        refused = len(token_ids) - kept
        in_session = len(token_ids) if state.transcript.stopped else kept
        self._count(kept, surplus=refused if state.transcript.stopped else 0)
        return in_session

    def _mark_synced(self) -> None:
        state = self._state
        state.large.mark_synced(state.transcript.pieces)
        if state.settings.hands_back:
            state.small.mark_synced(state.transcript.pieces)

    def _drop(self, surplus: int) -> None:
        if surplus:
            self._count(0, surplus=surplus)

    def _count(self, kept: int, *, surplus: int) -> None:
        state = self._state
        state.spans.current.drop(surplus)
        state.machine.note(LargeWrote(kept, surplus, state.spans.newly_read(state.large)))

    def _accept(self) -> None:
        """Commit the span as it is now, and record it."""
        state, span = self._state, self._state.spans.current
        if span.held:
            dropped = len(span.held) - state.write(state.large.writer, span.held)
            if dropped:
                state.machine.note(SpanReplaced(dropped, 0))
            self._mark_synced()
        closed_by = span.closed_by
        state.machine.note(LargeFailed() if closed_by == FAILURE else SpanClosed(closed_by))
        state.emit(state.spans.close(closed_by))
        if state.transcript.stopped:
            state.machine.note(ReplyEnded(state.transcript.ended_by))
        elif closed_by in ("stop", "human_stop"):
            state.machine.note(ReplyEnded(closed_by))

    def _recover(self, error: Exception, length: int, closed_by: str | None = None) -> None:
        """Call the large model again, fall back to another, or let the small model go on.

        Args:
            error: what the large model failed with.
            length: how many tokens of its session are known to be right.
            closed_by: what ended the span before the failure, the small model or the clock; None
                where nothing did.

        """
        state = self._state
        failed = state.spans.failed(error, state.large.model.name)
        wait_s = self._recovery.plan_retry(error, length)
        self._end_where_due(closed_by)
        if wait_s is not None:
            if state.machine.state is State.LARGE:
                self._recovery.retry_after(error, wait_s)
        elif state.machine.state not in (State.DONE, State.WAITING):
            self._recovery.fall_back(error, failed)

    def _degrade(self) -> None:
        """Let the small model go on alone."""
        if self._state.machine.state is State.LARGE:
            self.end(FAILURE)
        self._state.emit(self._state.spans.fell_back("small"))

"""The book of a request's spans: what each took, and the events that tell of it."""

import time
from dataclasses import dataclass, field

from splitreason_integrations import events
from splitreason_integrations.decide.machine import Machine
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.transcript import Transcript
from splitreason_integrations.records import SpanRecord


@dataclass(slots=True)
class OpenSpan:
    """The span being written.

    `held` are the tokens that a person has not accepted yet. `lengths` are those of the small and
    the large session without the span, None until the large model has begun.
    """

    opened_by: str
    started_s: float
    usd_before: float
    start_token: int
    first_piece: int
    lengths: tuple[int, int] | None = None
    read_tokens: int = 0
    surplus_tokens: int = 0
    attempts: int = 1
    held: list[int] = field(default_factory=list)
    human: list[str] = field(default_factory=list)
    closed_by: str = ""

    @property
    def has_begun(self) -> bool:
        """Whether the large model has begun to write."""
        return self.lengths is not None


class SpanTracker:
    """Records spans as they open, start and close."""

    def __init__(self, request_id: str, machine: Machine, transcript: Transcript) -> None:
        self._request_id = request_id
        self._machine = machine
        self._transcript = transcript
        self._open: OpenSpan | None = None
        self.records: list[SpanRecord] = []

    @property
    def number(self) -> int:
        """The number of the span that is open or comes next, from 0."""
        return len(self.records)

    @property
    def is_open(self) -> bool:
        """Whether a span is being written."""
        return self._open is not None

    @property
    def current(self) -> OpenSpan:
        """The span being written."""
        assert self._open is not None, "no span is open"
        return self._open

    @property
    def age_s(self) -> float:
        """Seconds since the open span opened; 0 where none is open."""
        return 0.0 if self._open is None else time.monotonic() - self._open.started_s

    def ends_s(self, deadline_s: float | None) -> float | None:
        """Return when the open span's time is up, or the request's, by `time.monotonic()`."""
        longest = self._machine.policy.max_span_s
        if longest is None:
            return deadline_s
        ends = self.current.started_s + longest
        return ends if deadline_s is None else min(ends, deadline_s)

    def open(self, opened_by: str) -> events.Event:
        """Note that a trigger fired."""
        self._open = OpenSpan(
            opened_by=opened_by,
            started_s=time.monotonic(),
            usd_before=self._machine.ledger.usd,
            start_token=self._transcript.tokens,
            first_piece=len(self._transcript.pieces),
        )
        return events.HandoffRequested(
            self._request_id, self.number, self._open.start_token, opened_by
        )

    def reopen(self, span: OpenSpan) -> None:
        """Go on with a span that was open when its request was put aside."""
        self._open = span

    def drop(self, by: str) -> events.Event:
        """Note that the span was refused before it began."""
        self._open = None
        return events.HandoffRefused(self._request_id, self.number, by)

    def start(self, small: Participant | None, large: Participant) -> events.Event:
        """Note that a large model begins to write; the sessions do not know of the span yet.

        The small one reads along if it is given.
        """
        span = self.current
        span.lengths = (small.session.length if small else 0, large.session.length)
        return self.start_again(large)

    def start_again(self, large: Participant) -> events.Event:
        """Note that a large model begins to write in the span, perhaps after another one."""
        self.current.read_tokens = large.read_tokens
        return events.HandoffStarted(
            self._request_id, self.number, self.current.start_token, large.model.name
        )

    def newly_read(self, large: Participant) -> int:
        """Return how many tokens the large model has read since this was last asked."""
        before, now = self.current.read_tokens, large.read_tokens
        self.current.read_tokens = now
        return now - before

    def close(self) -> events.Event:
        """Note that the span has ended; record it."""
        span, self._open = self.current, None
        pieces = self._transcript.pieces[span.first_piece :]
        record = SpanRecord(
            start_token=span.start_token,
            tokens=sum(len(piece.token_ids) for piece in pieces),
            text=self._transcript.text_of(pieces),
            opened_by=span.opened_by,
            closed_by=span.closed_by,
            latency_s=time.monotonic() - span.started_s,
            cost_usd=self._machine.ledger.usd - span.usd_before,
            surplus_tokens=span.surplus_tokens,
            attempts=span.attempts,
            human=", ".join(span.human) or None,
        )
        self.records.append(record)
        return events.HandoffFinished(
            self._request_id,
            self.number - 1,
            record.start_token,
            record.tokens,
            record.text,
            record.closed_by,
            record.latency_s,
            record.cost_usd,
        )

    def failed(self, error: Exception, model: str) -> events.Event:
        """Tell that a large model failed while this span was open."""
        return events.HandoffFailed(self._request_id, self.number, type(error).__name__, model)

    def retried(self, error: Exception, model: str, *, attempt: int, wait_s: float) -> events.Event:
        """Tell that a failed call is made again."""
        self.current.attempts += 1
        return events.HandoffRetried(
            self._request_id, self.number, model, type(error).__name__, attempt, wait_s
        )

    def fell_back(self, to: str) -> events.Event:
        """Tell who goes on instead, in the span that is open or after the last one."""
        number = self.number if self.is_open else self.number - 1
        return events.HandoffFellBack(self._request_id, number, to)

    def exhausted(self, cap: str) -> events.Event:
        """Tell that a cap of the request was reached."""
        return events.BudgetExhausted(self._request_id, cap, self.number)

"""The book of a request's spans: what each took, and the events that tell of it."""

import time
from dataclasses import dataclass

from splitreason_integrations import events
from splitreason_integrations.machine import Machine
from splitreason_integrations.records import SpanRecord, token_ids
from splitreason_integrations.seat import Seat
from splitreason_integrations.transcript import Transcript


@dataclass(slots=True)
class OpenSpan:
    """The span being written. `read_tokens` is None until the large model has begun."""

    opened_by: str
    started_s: float
    usd_before: float
    start_token: int
    first_piece: int
    read_tokens: int | None = None
    surplus_tokens: int = 0


class SpanBook:
    """Records spans as they open, start and close."""

    def __init__(
        self, request_id: str, machine: Machine, large: Seat, transcript: Transcript
    ) -> None:
        self._request_id = request_id
        self._machine = machine
        self._large = large
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

    def start(self) -> events.Event:
        """Note that the large model begins to write."""
        span = self.current
        span.read_tokens = self._large.session.read
        return events.HandoffStarted(
            self._request_id, self.number, span.start_token, self._large.model.name
        )

    def newly_read(self) -> int:
        """Return how many tokens the large model has read since this was last asked."""
        span = self.current
        before, now = span.read_tokens or 0, self._large.session.read
        span.read_tokens = now
        return now - before

    def close(self, closed_by: str) -> events.Event:
        """Note that the span has ended; record it."""
        span, self._open = self.current, None
        ids = token_ids(self._transcript.pieces[span.first_piece :])
        record = SpanRecord(
            start_token=span.start_token,
            tokens=len(ids),
            text=self._large.model.codec.decode(ids),
            opened_by=span.opened_by,
            closed_by=closed_by,
            latency_s=time.monotonic() - span.started_s,
            cost_usd=self._machine.ledger.usd - span.usd_before,
            surplus_tokens=span.surplus_tokens,
        )
        self.records.append(record)
        return events.HandoffFinished(
            self._request_id,
            self.number - 1,
            record.start_token,
            record.tokens,
            record.text,
            closed_by,
            record.latency_s,
            record.cost_usd,
        )

    def failed(self, error: Exception) -> events.Event:
        """Tell that the large model failed while this span was open."""
        return events.HandoffFailed(self._request_id, self.number, type(error).__name__)

    def fell_back(self) -> events.Event:
        """Tell that the small model goes on after the last span."""
        return events.HandoffFellBack(self._request_id, self.number - 1, "small")

    def exhausted(self, cap: str) -> events.Event:
        """Tell that a cap of the request was reached."""
        return events.BudgetExhausted(self._request_id, cap, self.number)

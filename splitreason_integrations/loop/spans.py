"""Span records of one request, and the events of their handoffs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from splitreason_integrations import events
from splitreason_integrations.decide.machine import Machine
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.transcript import Transcript
from splitreason_integrations.records import SpanRecord


@dataclass(slots=True)
class OpenSpan:
    """The span being written.

    Attributes:
        opened_by: the trigger that opened it.
        started_s: when it opened, by `time.monotonic()`.
        usd_before: what the request had cost by then.
        start_token: how many tokens of the reply come before it.
        first_piece: how many pieces of the reply come before it.
        lengths: tokens of the small and the large session without the span; None until the large
            model has begun.
        read_tokens: how many tokens the large model had read when this was last asked.
        surplus_tokens: tokens of the large model that were dropped.
        attempts: how many calls of large models it took so far.
        held: tokens that a person has not accepted yet.
        human: what people decided about it.
        closed_by: why it ended; empty while it is being written.
        exact_tokens: how many tokens it is to have, where its trigger says so; else None.

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
    exact_tokens: int | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the large model has begun to write."""
        return self.lengths is not None

    @property
    def lengths_before(self) -> tuple[int, int]:
        """Tokens of the small and the large session without the span."""
        assert self.lengths is not None, "a span that was written has begun"
        return self.lengths

    def begin(self, small_length: int, large_length: int) -> None:
        """Note how long both sessions are without the span."""
        self.lengths = (small_length, large_length)

    def restart_clock(self) -> None:
        """Start the span's time now: no cap counts how long a person takes to answer."""
        self.started_s = time.monotonic()

    def hold(self, token_ids: Sequence[int]) -> None:
        """Keep tokens back until a person accepts them."""
        self.held += token_ids

    def drop(self, tokens: int) -> None:
        """Count tokens of the large model that are dropped."""
        self.surplus_tokens += tokens

    def drop_held(self) -> int:
        """Drop the tokens that were held back; return how many they were."""
        dropped, self.held = len(self.held), []
        self.drop(dropped)
        return dropped

    def end(self, closed_by: str) -> None:
        """Note why the span ended."""
        self.closed_by = closed_by

    def decided(self, decision: str, by: str) -> None:
        """Note what a person decided."""
        self.human.append(f"{decision} by {by}")


class SpanTracker:
    """Records spans as they open, start and close; returns the event of each change."""

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

    def open(self, opened_by: str, exact_tokens: int | None = None) -> events.Event:
        """Open a span where a trigger fired, perhaps one of an exact length."""
        self._open = OpenSpan(
            opened_by=opened_by,
            started_s=time.monotonic(),
            usd_before=self._machine.ledger.usd,
            start_token=self._transcript.tokens,
            first_piece=len(self._transcript.pieces),
            exact_tokens=exact_tokens,
        )
        return events.HandoffRequested(
            self._request_id, self.number, self._open.start_token, opened_by
        )

    def reopen(self, span: OpenSpan) -> None:
        """Go on with a span that was open when its request was paused."""
        self._open = span

    def drop(self, by: str) -> events.Event:
        """Drop the span: a person refused it before it began."""
        self._open = None
        return events.HandoffRefused(self._request_id, self.number, by)

    def start(self, small: Participant | None, large: Participant) -> events.Event:
        """Begin the span, before either session holds any of it.

        Args:
            small: the small model, where it reads along.
            large: the large model that writes first.

        """
        self.current.begin(small.session.length if small else 0, large.session.length)
        return self.start_again(large)

    def start_again(self, large: Participant) -> events.Event:
        """Let a large model write in the span, perhaps after another one."""
        self.current.read_tokens = large.read_tokens
        return events.HandoffStarted(
            self._request_id, self.number, self.current.start_token, large.model.name
        )

    def newly_read(self, large: Participant) -> int:
        """Return how many tokens the large model has read since this was last asked."""
        before, now = self.current.read_tokens, large.read_tokens
        self.current.read_tokens = now
        return now - before

    def close(self, closed_by: str) -> events.Event:
        """End the span and record it."""
        span, self._open = self.current, None
        span.end(closed_by)
        pieces = self._transcript.pieces[span.first_piece :]
        record = SpanRecord(
            start_token=span.start_token,
            tokens=sum(len(piece.token_ids) for piece in pieces),
            text=self._transcript.shown(self._transcript.text_of(pieces)),
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
        """Return the event of a large model that failed in this span."""
        return events.HandoffFailed(self._request_id, self.number, type(error).__name__, model)

    def retried(self, error: Exception, model: str, *, attempt: int, wait_s: float) -> events.Event:
        """Count a failed call that is made again, in the span if one is open; return its event."""
        if self._open is not None:
            self._open.attempts += 1
        return events.HandoffRetried(
            self._request_id, self.number, model, type(error).__name__, attempt, wait_s
        )

    def fell_back(self, to: str) -> events.Event:
        """Return the event of who goes on instead, in the open span or after the last one."""
        number = self.number if self.is_open else self.number - 1
        return events.HandoffFellBack(self._request_id, number, to)

    def left_out(self, model: str, setting: str) -> events.Event:
        """Return the event of a setting that a model's server was not asked for."""
        return events.SettingLeftOut(self._request_id, model, setting)

    def exhausted(self, cap: str) -> events.Event:
        """Return the event of a cap of the request that was reached."""
        return events.BudgetExhausted(self._request_id, cap, self.number)

"""A request as spans: the whole of it, the small model's stretches, hand-overs, a person's time.

Tokens are counted as `gen_ai.usage.*` by the request's span alone, so that no sum counts them
twice. All kinds are INTERNAL: what leaves the process is for a client's own instrumentation.
"""

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from splitreason_integrations import events
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.records import Author, Completion, Delta
from splitreason_integrations.telemetry import names
from splitreason_integrations.telemetry.asked import Asked
from splitreason_integrations.telemetry.attributes import (
    event_attributes,
    reply_attributes,
    request_attributes,
)

_Attributes = Mapping[str, Any]
_propagator = TraceContextTextMapPropagator()


class Current:
    """Makes a span the current one while an item is made; none where there is nothing to tell."""

    def __init__(self) -> None:
        self._within: otel.Context | None = None
        self._token: Any = None

    def use(self, within: otel.Context) -> None:
        """Take the context of another span from now on."""
        is_told = trace.get_current_span(within).get_span_context().is_valid
        self._within = within if is_told else None

    def __enter__(self) -> None:
        self._token = None if self._within is None else otel.attach(self._within)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A pull that is thrown away, not cancelled, ends outside of the context that it began in.
        thrown_away = kind is GeneratorExit and otel.get_current() is not self._within
        if self._token is not None and not thrown_away:
            otel.detach(self._token)


class Tracing:
    """The open spans of one request, outermost first, and the item that ends each."""

    def __init__(self, tracer: trace.Tracer, asked: Asked, *, content: bool) -> None:
        self.current = Current()
        self._tracer = tracer
        self._asked = asked
        self._content = content
        self._caller = otel.get_current()
        self._open: list[tuple[str, trace.Span, otel.Context]] = []
        self._since_ns = 0
        self._small_tokens = 0
        self._retries = 0
        self._error = ""
        self._moment = "before"

    def carrier(self) -> dict[str, str]:
        """Return what the continuation of the request is linked by: W3C's trace context."""
        carried: dict[str, str] = {}
        if self._open:
            _propagator.inject(carried, self._open[0][2])
        return carried

    def start(self) -> None:
        """Begin the request's span, and again the hand-over that it was put aside in."""
        state = self._asked.state
        inside = None if state is None else (len(state["spans"]), state["span"])
        self._begin(
            f"{names.CHAT} {self._asked.pair}",
            request_attributes(self._asked, content=self._content),
            links=self._links(),
        )
        self._since_ns = time.time_ns()
        if inside is not None:
            number, span = inside
            self._moment = "after" if span["closed_by"] else "before"
            self._begin_handoff(number, span["start_token"], span["opened_by"])

    def note(self, item: object) -> None:
        """Begin, mark or end spans, as an item tells."""
        match item:
            case Delta():
                self._note_delta(item)
            case events.HandoffRequested(_, span, start_token, opened_by):
                self._end_small()
                self._begin_handoff(span, start_token, opened_by)
            case events.HandoffFinished():
                self._finish_handoff(item)
            case events.HumanAsked():
                self._moment = item.moment
                self._begin(names.HUMAN, self._facts(item))
            case events.HumanAnswered() if self._is_in(names.HUMAN):
                self._end(names.HUMAN, self._facts(item))
            case events.Event():
                self._mark(item)
            case Completion():
                self._end_small()
                self._end_all(reply_attributes(item, content=self._content))
            case Paused():
                self._end_all({names.OUTCOME: names.WAITING})

    def end_early(self, error: BaseException) -> None:
        """End all spans that are open."""
        outcome = names.outcome_of(error)
        self._end_small()
        if outcome == names.FAILED:
            for _, span, _ in self._open:
                self._fail(span, type(error).__qualname__)
                if self._content:
                    span.record_exception(error)
        self._end_all({names.OUTCOME: outcome})

    def _note_delta(self, delta: Delta) -> None:
        if delta.author is not Author.SMALL or not delta.token_ids:
            return
        if not self._is_in(names.SMALL):
            attributes = {names.REQUEST_MODEL: self._asked.small, names.AUTHOR: Author.SMALL.value}
            self._begin(names.SMALL, attributes, start_ns=self._since_ns)
            self._small_tokens = 0
        self._small_tokens += len(delta.token_ids)

    def _begin_handoff(self, number: int, start_token: int, opened_by: str) -> None:
        self._retries, self._error = 0, ""
        facts = {names.SPAN: number, names.START_TOKEN: start_token, names.OPENED_BY: opened_by}
        self._begin(names.HANDOFF, {**facts, names.AUTHOR: Author.LARGE.value})

    def _mark(self, event: events.Event) -> None:
        """Let an event stand in the innermost span; a refusal may end the hand-over."""
        facts, span = self._facts(event), self._innermost
        span.add_event(event.name, facts)
        match event:
            case events.HandoffStarted():
                span.set_attribute(names.REQUEST_MODEL, facts[names.REQUEST_MODEL])
            case events.HandoffRetried():
                self._retries += 1
            case events.HandoffFailed():
                self._error = event.error
            case events.HandoffRefused() if self._moment == "before":
                self._end(names.HANDOFF, {names.TOKENS: 0})

    def _finish_handoff(self, event: events.HandoffFinished) -> None:
        if event.closed_by == "failure":
            self._fail(self._innermost, self._error)
        self._end(names.HANDOFF, {**self._facts(event), names.ATTEMPTS: 1 + self._retries})

    def _end_small(self) -> None:
        if self._is_in(names.SMALL):
            self._end(names.SMALL, {names.TOKENS: self._small_tokens})

    def _facts(self, event: events.Event) -> dict[str, Any]:
        return event_attributes(event, content=self._content)

    def _links(self) -> list[trace.Link]:
        fields = {name: self._asked.kept.get(name) for name in _propagator.fields}
        carried = {name: value for name, value in fields.items() if isinstance(value, str)}
        before = trace.get_current_span(_propagator.extract(carried, otel.Context()))
        put_aside = before.get_span_context()
        return [trace.Link(put_aside, {names.RESUMED: True})] if put_aside.is_valid else []

    @property
    def _innermost(self) -> trace.Span:
        return self._open[-1][1]

    def _is_in(self, name: str) -> bool:
        return bool(self._open) and self._open[-1][0] == name

    def _begin(
        self,
        name: str,
        attributes: _Attributes,
        *,
        start_ns: int | None = None,
        links: list[trace.Link] | None = None,
    ) -> None:
        around = self._open[-1][2] if self._open else self._caller
        span = self._tracer.start_span(
            name, around, attributes=attributes, links=links, start_time=start_ns
        )
        self._open.append((name, span, trace.set_span_in_context(span, around)))
        self.current.use(self._open[-1][2])

    def _end(self, name: str, attributes: _Attributes) -> None:
        """End the innermost span, which has that name."""
        ended, span, _ = self._open.pop()
        assert ended == name, f"{ended} is open, {name} was to end"
        span.set_attributes(attributes)
        span.end()
        self._since_ns = time.time_ns()
        self.current.use(self._open[-1][2] if self._open else self._caller)

    def _end_all(self, attributes: _Attributes) -> None:
        while self._open:
            self._end(self._open[-1][0], attributes)

    def _fail(self, span: trace.Span, error_type: str) -> None:
        span.set_attribute(names.ERROR_TYPE, error_type)
        span.set_status(trace.StatusCode.ERROR, error_type)

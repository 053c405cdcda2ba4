"""A request as trace spans: the request, what the small model writes, handoffs, human checks.

Tokens are counted as `gen_ai.usage.*` by the request's span alone, so that no sum counts them
twice. All kinds are INTERNAL: calls that leave the process have a client's own instrumentation.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from splitreason_integrations import events
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.records import Author, Completion, Delta
from splitreason_integrations.telemetry import names
from splitreason_integrations.telemetry.attributes import (
    event_attributes,
    reply_attributes,
    request_attributes,
)
from splitreason_integrations.telemetry.request_facts import RequestFacts

_Attributes = Mapping[str, Any]
_propagator = TraceContextTextMapPropagator()


class Current:
    """Makes a span the current one while an item is made, if it is recorded anywhere."""

    def __init__(self) -> None:
        self._within: otel.Context | None = None
        self._token: Any = None

    def use(self, within: otel.Context) -> None:
        """Use the context of another span from now on."""
        is_recorded = trace.get_current_span(within).get_span_context().is_valid
        self._within = within if is_recorded else None

    def __enter__(self) -> None:
        self._token = None if self._within is None else otel.attach(self._within)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A discarded generator is closed outside of the context in which it was resumed.
        discarded = kind is GeneratorExit and otel.get_current() is not self._within
        if self._token is not None and not discarded:
            otel.detach(self._token)


class Tracing:
    """The open spans of one request, outermost first, and the item that ends each."""

    def __init__(self, tracer: trace.Tracer, facts: RequestFacts, *, content: bool) -> None:
        self.current = Current()
        self._tracer = tracer
        self._request = facts
        self._content = content
        self._caller = otel.get_current()
        self._open: list[tuple[str, trace.Span, otel.Context]] = []
        self._since_ns = 0
        self._small_tokens = 0
        self._retries = 0
        self._error = ""
        self._moment = "before"

    def carrier(self) -> dict[str, str]:
        """Return the W3C trace context to which the request's continuation links."""
        context: dict[str, str] = {}
        if self._open:
            _propagator.inject(context, self._open[0][2])
        return context

    def start(self) -> None:
        """Begin the request's span, and again the handoff during which it was paused."""
        state = self._request.state
        inside = None if state is None else (len(state["spans"]), state["span"])
        self._begin(
            f"{names.CHAT} {self._request.pair}",
            request_attributes(self._request, content=self._content),
            links=self._links(),
        )
        self._since_ns = time.time_ns()
        if inside is not None:
            number, span = inside
            self._moment = "after" if span["closed_by"] else "before"
            self._begin_handoff(number, span["start_token"], span["opened_by"])

    def observe(self, item: object) -> None:
        """Begin or end spans, or add an event to one, as an item says."""
        match item:
            case Delta():
                self._observe_delta(item)
            case events.Event():
                EVENTS.get(type(item), Tracing.add_event)(self, item)
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

    def _observe_delta(self, delta: Delta) -> None:
        if delta.author is not Author.SMALL or not delta.token_ids:
            return
        if not self._is_in(names.SMALL):
            attributes = {
                names.REQUEST_MODEL: self._request.small,
                names.AUTHOR: Author.SMALL.value,
            }
            self._begin(names.SMALL, attributes, start_ns=self._since_ns)
            self._small_tokens = 0
        self._small_tokens += len(delta.token_ids)

    def _begin_handoff(self, number: int, start_token: int, opened_by: str) -> None:
        self._retries, self._error = 0, ""
        facts = {names.SPAN: number, names.START_TOKEN: start_token, names.OPENED_BY: opened_by}
        self._begin(names.HANDOFF, {**facts, names.AUTHOR: Author.LARGE.value})

    def add_event(self, event: events.Event) -> None:
        """Add an event to the innermost span."""
        self._innermost.add_event(event.name, self._facts(event))

    def handoff_requested(self, event: events.HandoffRequested) -> None:
        """End the small model's span and begin the handoff's."""
        self._end_small()
        self._begin_handoff(event.span, event.start_token, event.opened_by)

    def handoff_started(self, event: events.HandoffStarted) -> None:
        """Name the large model that writes."""
        self.add_event(event)
        model = self._facts(event)[names.REQUEST_MODEL]
        self._innermost.set_attribute(names.REQUEST_MODEL, model)

    def handoff_retried(self, event: events.HandoffRetried) -> None:
        """Count a call that is made again."""
        self.add_event(event)
        self._retries += 1

    def handoff_failed(self, event: events.HandoffFailed) -> None:
        """Keep the error for the handoff's status."""
        self.add_event(event)
        self._error = event.error

    def handoff_refused(self, event: events.HandoffRefused) -> None:
        """End a handoff that was refused before the large model wrote."""
        self.add_event(event)
        if self._moment == "before":
            self._end(names.HANDOFF, {names.TOKENS: 0})

    def human_asked(self, event: events.HumanAsked) -> None:
        """Begin the span of a person's answer."""
        self._moment = event.moment
        self._begin(names.HUMAN, self._facts(event))

    def human_answered(self, event: events.HumanAnswered) -> None:
        """End the span of a person's answer; a resumed request has none open."""
        if self._is_in(names.HUMAN):
            self._end(names.HUMAN, self._facts(event))
        else:
            self.add_event(event)

    def handoff_finished(self, event: events.HandoffFinished) -> None:
        """End the handoff's span."""
        if event.closed_by == "failure":
            self._fail(self._innermost, self._error)
        self._end(names.HANDOFF, {**self._facts(event), names.ATTEMPTS: 1 + self._retries})

    def _end_small(self) -> None:
        if self._is_in(names.SMALL):
            self._end(names.SMALL, {names.TOKENS: self._small_tokens})

    def _facts(self, event: events.Event) -> dict[str, Any]:
        return event_attributes(event, content=self._content)

    def _links(self) -> list[trace.Link]:
        fields = {name: self._request.saved_context.get(name) for name in _propagator.fields}
        context = {name: value for name, value in fields.items() if isinstance(value, str)}
        before = trace.get_current_span(_propagator.extract(context, otel.Context()))
        paused = before.get_span_context()
        return [trace.Link(paused, {names.RESUMED: True})] if paused.is_valid else []

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
        assert ended == name, f"span {ended} is open, not {name}"
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


EVENTS: Mapping[type[events.Event], Callable[[Tracing, Any], None]] = {
    events.RulesChosen: Tracing.add_event,
    events.HandoffRequested: Tracing.handoff_requested,
    events.HumanAsked: Tracing.human_asked,
    events.HumanAnswered: Tracing.human_answered,
    events.HandoffApproved: Tracing.add_event,
    events.HandoffRefused: Tracing.handoff_refused,
    events.HandoffStarted: Tracing.handoff_started,
    events.HandoffFinished: Tracing.handoff_finished,
    events.HandoffRetried: Tracing.handoff_retried,
    events.HandoffFailed: Tracing.handoff_failed,
    events.HandoffFellBack: Tracing.add_event,
    events.SettingLeftOut: Tracing.add_event,
    events.BudgetExhausted: Tracing.add_event,
}
"""How each event is traced."""

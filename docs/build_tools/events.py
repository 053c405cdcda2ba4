"""The tables of events: their fields, and how the frameworks, the log and traces show them."""

from dataclasses import fields
from typing import Any

from build_tools.markdown import anchored, attribute_text, code, summary, table, type_text
from langchain_splitreason import events as langchain
from llama_index.llms.splitreason import events as llama_index
from splitreason_integrations import events
from splitreason_integrations.audit import kinds
from splitreason_integrations.telemetry import metering, tracing

_LANGCHAIN = {
    langchain.Delivery.span_started: "custom event; begins the span's run",
    langchain.Delivery.span_finished: "custom event; ends the span's run",
    langchain.Delivery.span_failed: "custom event; ends the span's run with an error",
}
_TRACES = {
    tracing.Tracing.add_event: "an event of the open span",
    tracing.Tracing.handoff_requested: "ends the small model's span, begins the handoff's",
    tracing.Tracing.human_asked: "begins the span of a person's answer",
    tracing.Tracing.human_answered: "ends the span of a person's answer",
    tracing.Tracing.handoff_refused: "ends the handoff's span, with the refusal",
    tracing.Tracing.handoff_started: "the large model's name on the handoff's span",
    tracing.Tracing.handoff_finished: "ends the handoff's span, with tokens, time and cost",
    tracing.Tracing.handoff_retried: "one more attempt on the handoff's span",
    tracing.Tracing.handoff_failed: "the error on the handoff's span",
}
_METRICS = {
    metering.Metering.human_answered: "how long the person took",
    metering.Metering.handoff_started: "the large model's name, for later figures",
    metering.Metering.handoff_finished: "latency and cost of the handoff",
    metering.Metering.handoff_retried: "number of retries",
    metering.Metering.handoff_failed: "number of failures for good",
    metering.Metering.handoff_fell_back: "number of models that took over",
    metering.Metering.budget_exhausted: "number of caps that were reached",
}


def family() -> list[type[events.Event]]:
    """Return the classes of all events."""
    return [
        one
        for one in vars(events).values()
        if isinstance(one, type) and issubclass(one, events.Event) and one is not events.Event
    ]


def fields_of_events() -> str:
    """Return for each event a heading, its docstring and a table of its fields."""
    return "\n".join(map(_section, family()))


def _section(kind: type[events.Event]) -> str:
    rows = (
        (code(field.name), code(type_text(field.type)), attribute_text(kind, field.name))
        for field in fields(kind)
    )
    heading = f"### `{kind.name}` {{: #{kind.name.replace('.', '-')} }}\n\n"
    shown = f"Class `{kind.__name__}`. {summary(kind)}\n\n"
    return heading + shown + table(("Field", "Type", "Meaning"), rows)


def where_shown() -> str:
    """Return the table of how each event is shown."""
    head = ("Event", "LangChain", "LlamaIndex", "Audit log", "Traces", "Metrics")
    return table(head, map(_shown, family()))


def _shown(kind: type[events.Event]) -> tuple[str, ...]:
    called: Any = langchain.EVENTS[kind]
    streamed = " and `OffloadStreamEvent`" if llama_index.EVENTS[kind] else ""
    traced: Any = tracing.EVENTS[kind]
    metered: Any = metering.EVENTS[kind]
    return (
        anchored(kind.name, prefix="shown"),
        _LANGCHAIN[called] if called else "custom event",
        f"`OffloadEvent`{streamed}",
        f"record of {kinds.EVENTS[kind]}",
        _TRACES[traced],
        _METRICS[metered] if metered else "none",
    )

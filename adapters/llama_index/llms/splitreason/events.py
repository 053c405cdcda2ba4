"""Offload events → LlamaIndex instrumentation events, and the stream of a workflow's run."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.base import BaseEvent
from llama_index.core.instrumentation.span import active_span_id
from workflows import Context
from workflows.errors import WorkflowRuntimeError
from workflows.events import Event as StreamEvent

from splitreason_integrations import events
from splitreason_integrations.events import Event

_dispatcher = get_dispatcher(__name__)

EVENTS: Mapping[type[Event], bool] = {
    events.RulesChosen: True,
    events.HandoffRequested: True,
    events.HumanAsked: True,
    events.HumanAnswered: True,
    events.HandoffApproved: True,
    events.HandoffRefused: True,
    events.HandoffStarted: True,
    events.HandoffFinished: True,
    events.HandoffRetried: True,
    events.HandoffFailed: True,
    events.HandoffFellBack: True,
    events.SettingLeftOut: True,
    events.BudgetExhausted: True,
}
"""Whether each event is also in the stream of the workflow's run."""


class OffloadEvent(BaseEvent):
    """One event of the offload family.

    `name` is the same as in LangChain and logs, such as `splitreason.handoff.finished`; `data`
    holds its facts, `request_id` and the span's number among them.
    """

    name: str
    data: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the event is serialised."""
        return "SplitReasonOffloadEvent"


class OffloadStreamEvent(StreamEvent):
    """An offload event in `stream_events()` of an agent's or a workflow's run, to show to users."""

    name: str
    data: dict[str, Any]


class Delivery:
    """Delivers one request's events under the instrumentation span that made the request.

    Create it where the request is made: inside a generator the active span is unknown.
    """

    def __init__(self) -> None:
        self._span_id = active_span_id.get()
        self._context = _step_context()

    def deliver(self, event: Event) -> None:
        """Send an event to all handlers, and to the run whose step made the request."""
        facts = OffloadEvent(name=event.name, data=event.data(), span_id=self._span_id)
        _dispatcher.event(facts)
        if self._context is not None and EVENTS.get(type(event), True):
            shown = OffloadStreamEvent(name=event.name, data=event.data())
            self._context.write_event_to_stream(shown)


def _step_context() -> Context[Any] | None:
    """Return the context of the running step; None outside a step and in a synchronous one.

    LlamaIndex runs synchronous steps in threads, from which its stream takes no events.
    """
    with suppress(WorkflowRuntimeError, RuntimeError):
        asyncio.get_running_loop()
        return Context.get_step_context()
    return None

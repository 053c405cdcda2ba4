"""Offload events as LlamaIndex instrumentation events."""

from typing import Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.base import BaseEvent
from llama_index.core.instrumentation.span import active_span_id

from splitreason_integrations.events import Event

_dispatcher = get_dispatcher(__name__)


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


class Delivery:
    """Delivers one request's events under the instrumentation span that made the request.

    To be made where the request is made: inside a generator the active span is no longer known.
    """

    def __init__(self) -> None:
        self._span_id = active_span_id.get()

    def deliver(self, event: Event) -> None:
        """Hand an event to all handlers."""
        facts = OffloadEvent(name=event.name, data=event.data(), span_id=self._span_id)
        _dispatcher.event(facts)

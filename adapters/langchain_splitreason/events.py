"""Offload events → LangChain callbacks, a child run for each span, and LangGraph's custom stream.

The calls of an event are written once, as a generator, and driven with or without `await`.
"""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
)
from langchain_core.outputs import Generation, LLMResult

from langchain_splitreason.runs import RunManager
from splitreason_integrations import events
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.events import Event
from splitreason_integrations.records import Delta

Calls = Generator[Any, Any, None]


class Delivery:
    """Delivers the events of one request, in order, each once.

    Callbacks get `on_custom_event(name, data)` under the chat model's run; a LangGraph graph gets
    `{"name": ..., "data": ...}` in its custom stream; each span is a child run of its own.
    """

    def __init__(self, run: RunManager | None) -> None:
        self._run = run
        self._write = graph_writer()
        self._span: Any = None
        self._text = ""

    def add_text(self, delta: Delta) -> None:
        """Keep the reply's text, the prompt of the next span's run."""
        self._text += delta.text

    def now(self, event: Event) -> None:
        """Deliver an event to synchronous callbacks."""
        _drive(self._calls(event))

    async def later(self, event: Event) -> None:
        """Deliver an event to asynchronous callbacks."""
        await _adrive(self._calls(event))

    def abandon(self, error: BaseException) -> None:
        """End the run of a span that an error or the caller ended early."""
        _drive(self._fail(error))

    async def abandon_later(self, error: BaseException) -> None:
        """End the run of a span that an error or the caller ended early."""
        await _adrive(self._fail(error))

    def _calls(self, event: Event) -> Calls:
        if self._write is not None:
            self._write({"name": event.name, "data": event.data()})
        if self._run is None:
            return
        yield self._custom(self._run, event)
        more = EVENTS.get(type(event))
        if more is not None:
            yield from more(self, event)

    def span_started(self, event: events.HandoffStarted) -> Calls:
        """Begin the run of a span."""
        if self._run is not None:
            (self._span,) = yield self._start(self._run, event)

    def span_finished(self, event: events.HandoffFinished) -> Calls:
        """End the run of a span."""
        if self._span is not None:
            span, self._span = self._span, None
            yield span.on_llm_end(_span_result(event))

    def span_failed(self, event: events.HandoffFailed) -> Calls:
        """End the run of a span with the large model's error."""
        yield from self._fail(LargeModelError(event.error))

    def _custom(self, run: RunManager, event: Event) -> Any:
        manager = _manager_type(run)(
            handlers=run.handlers, parent_run_id=run.run_id, tags=run.tags, metadata=run.metadata
        )
        return manager.on_custom_event(event.name, event.data(), run_id=run.run_id)

    def _start(self, run: RunManager, event: events.HandoffStarted) -> Any:
        # Not a chat-model run: LangGraph would stream its text as a message of its own.
        facts = {
            "ls_provider": "splitreason",
            "ls_model_name": event.model,
            "ls_model_type": "llm",
            "splitreason_span": event.span,
        }
        manager = _manager_type(run)(
            handlers=run.inheritable_handlers,
            inheritable_handlers=run.inheritable_handlers,
            parent_run_id=run.run_id,
            tags=run.inheritable_tags,
            metadata={**run.inheritable_metadata, **facts},
        )
        return manager.on_llm_start(
            {"name": event.model}, [self._text], invocation_params={"model": event.model}
        )

    def _fail(self, error: BaseException) -> Calls:
        if self._span is not None:
            span, self._span = self._span, None
            yield span.on_llm_error(error)


EVENTS: Mapping[type[Event], Callable[[Delivery, Any], Calls] | None] = {
    events.RulesChosen: None,
    events.HandoffRequested: None,
    events.HumanAsked: None,
    events.HumanAnswered: None,
    events.HandoffApproved: None,
    events.HandoffRefused: None,
    events.HandoffStarted: Delivery.span_started,
    events.HandoffFinished: Delivery.span_finished,
    events.HandoffRetried: None,
    events.HandoffFailed: Delivery.span_failed,
    events.HandoffFellBack: None,
    events.SettingLeftOut: None,
    events.BudgetExhausted: None,
}
"""What each event calls beside the custom event; None for nothing more."""


def graph_writer() -> Callable[[Any], None] | None:
    """Return the writer of LangGraph's custom stream; None outside a graph."""
    config = sys.modules.get("langgraph.config")
    if config is not None:
        with suppress(RuntimeError, KeyError):
            writer: Callable[[Any], None] = config.get_stream_writer()
            return writer
    return None


def _manager_type(run: RunManager) -> type[CallbackManager] | type[AsyncCallbackManager]:
    return (
        AsyncCallbackManager if isinstance(run, AsyncCallbackManagerForLLMRun) else CallbackManager
    )


def _span_result(event: events.HandoffFinished) -> LLMResult:
    # Usage stays with the chat model's run, which counts these tokens already.
    facts = event.data()
    text = facts.pop("text")
    return LLMResult(generations=[[Generation(text=text, generation_info=facts)]])


def _drive(calls: Calls) -> None:
    with suppress(StopIteration):
        result = next(calls)
        while True:
            result = calls.send(result)


async def _adrive(calls: Calls) -> None:
    with suppress(StopIteration):
        pending = next(calls)
        while True:
            pending = calls.send(await pending)

"""One execution of a workflow's step: what woke it, and how it waits for a person.

LlamaIndex runs a step again for each event that it waits for, and after a restart for each waiter
that it restored, which then takes any event of its type. `Context.wait_for_event` alone would lose
an answer or run a step twice there; so this module distinguishes waiters and retires them.
"""

import time
import uuid
from typing import Any, NoReturn

from llama_index_instrumentation.dispatcher import active_instrument_tags
from workflows import Context
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent
from workflows.runtime.types.results import (
    AddWaiter,
    DeleteWaiter,
    StepWorkerStateContextVar,
    StepWorkerWaiter,
    WaitingForEvent,
)

from splitreason_integrations.errors import ConfigurationError

_PREFIX = "splitreason:"


class Never(Event):
    """An event that is never sent: retired waiters wait for it."""


class Execution:
    """The step that runs now. Raises ConfigurationError outside of one."""

    def __init__(self) -> None:
        try:
            self._step = StepWorkerStateContextVar.get()
        except LookupError as error:
            raise ConfigurationError(
                "WorkflowReviewer asks in an asynchronous step of a LlamaIndex workflow: call the "
                "LLM there, with await; elsewhere use another reviewer, a function perhaps"
            ) from error
        state = self._step.state
        self.step_name = state.step_name
        self.work_item = f"{state.step_name}/{state.work_item_id}"
        run = active_instrument_tags.get().get("llamaindex.run_id")
        self.invocation = f"{run}/{state.invocation_id}"

    @property
    def context(self) -> Context[Any]:
        """The step's context, which this does not keep alive."""
        return Context.get_step_context()

    @property
    def is_retry(self) -> bool:
        """Whether the step failed before and is tried again."""
        return self.context.retry_info().retry_number > 0

    @property
    def waiting_items(self) -> set[str]:
        """The work items of this step that wait for an event."""
        return {
            f"{self.step_name}/{waiter.work_item_id}"
            for waiter in self._step.state.collected_waiters
            if waiter.waiting_for_event is not Never
        }

    def is_invocation_of(self, invocation: str) -> bool:
        """Return whether an invocation was of the same run."""
        return invocation.rpartition("/")[0] == self.invocation.rpartition("/")[0]

    def waiter_of(self, question_id: str) -> StepWorkerWaiter[Any] | None:
        """Return the waiter for an answer as this execution found it."""
        for waiter in self._step.state.collected_waiters:
            if waiter.waiter_id == _PREFIX + question_id:
                return waiter
        return None

    def delete_waiters(self) -> None:
        """Have this work item's waiters deleted once the step is complete."""
        for waiter in self._own():
            self._step.returns.return_values.append(DeleteWaiter(waiter_id=waiter.waiter_id))

    def ask(
        self, question_id: str, event: InputRequiredEvent, *, timeout_s: float | None
    ) -> NoReturn:
        """End the execution until an answer comes; the event is sent once that is waited for."""
        for waiter in self._own():
            retired: AddWaiter[Any] = AddWaiter(waiter_id=waiter.waiter_id, event_type=Never)
            self._step.returns.return_values.append(retired)
        raise WaitingForEvent(_answer_to(question_id, event, timeout_s))

    def wait_again(self, question_id: str, event: InputRequiredEvent | None = None) -> NoReturn:
        """End the execution until another answer comes than the one that woke it."""
        self._step.returns.return_values.append(_answer_to(question_id))
        self._idle(event=event)

    def end_unchanged(self, *, until: float | None = None) -> NoReturn:
        """End the execution and leave all waiters as they are; at a time run again, if given."""
        self._idle(timeout_s=None if until is None else max(0.0, until - time.time()))

    def _idle(
        self, *, event: InputRequiredEvent | None = None, timeout_s: float | None = None
    ) -> NoReturn:
        # Events are sent and timeouts set for new waiters alone.
        name = "idle" if event is None and timeout_s is None else uuid.uuid4().hex
        waiter: AddWaiter[Never] = AddWaiter(
            waiter_id=f"{_PREFIX}{self.work_item}:{name}",
            event_type=Never,
            waiter_event=event,
            timeout=timeout_s,
        )
        raise WaitingForEvent(waiter)

    def _own(self) -> list[StepWorkerWaiter[Any]]:
        mine = self._step.state.work_item_id
        return [
            waiter
            for waiter in self._step.state.collected_waiters
            if waiter.waiter_id.startswith(_PREFIX) and waiter.work_item_id == mine
        ]


def _answer_to(
    question_id: str, event: InputRequiredEvent | None = None, timeout_s: float | None = None
) -> AddWaiter[Any]:
    return AddWaiter(
        waiter_id=_PREFIX + question_id,
        event_type=HumanResponseEvent,
        requirements={"id": question_id},
        waiter_event=event,
        timeout=timeout_s,
    )

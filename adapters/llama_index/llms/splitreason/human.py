"""Human checks in a LlamaIndex workflow: a step asks by an event and waits for the response.

A step runs again when its response comes. The reply so far is saved in the workflow's context, so
nothing is generated or asked twice, in this process or in another that restored the context.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict
from workflows import Context
from workflows.events import HumanResponseEvent, InputRequiredEvent

from llama_index.llms.splitreason.waiting import Execution
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import (
    TIMEOUT,
    Answer,
    Paused,
    Question,
    named_reviewer,
)
from splitreason_integrations.humans.signing import Keys
from splitreason_integrations.humans.stored import checked
from splitreason_integrations.loop.paused_state import check_paused
from splitreason_integrations.loop.segments import Answered, packed, segment, unpacked
from splitreason_integrations.loop.state import Item
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request

_STORE = "splitreason"


class QuestionEvent(InputRequiredEvent):
    """A question, in `stream_events()` of the workflow's run.

    The answer is `HumanResponseEvent(id=event.id, response="approve")`, sent with
    `handler.ctx.send_event`; `response` may be a decision, a truth value, or a dict with
    `decision`, `text` and `by`. One that is no answer is asked for again, `problem` says why.
    """

    id: str
    question: Question
    problem: str = ""


@named_reviewer
class WorkflowReviewer:
    """Asks from the step of a LlamaIndex workflow that awaits the LLM, by a `QuestionEvent`.

    The step runs again from its beginning for each answer, so the code before the LLM's call
    should be cheap; its requests follow one another. `handler.ctx.to_dict()` holds all that was
    written: `Context.from_dict` goes on from it in another process. A workflow ends after its own
    `timeout`, waiting or not: give it None.
    """

    async def review(self, paused: Paused) -> Answer | None:
        """Return None: the request is paused and the step ends."""
        return None


def asks_in_workflow(engine: SplitEngine) -> bool:
    """Return whether an engine's human check asks from a workflow's step."""
    check = engine.human_check
    return check is not None and isinstance(check.reviewer, WorkflowReviewer)


async def items_in_workflow(
    engine: SplitEngine, request: Request
) -> AsyncGenerator[Item | Completion, None]:
    """Yield a request's items; where a person is asked the step ends by LlamaIndex's own means."""
    visit = await _Visit.now(engine.pause_keys)
    with visit.one_request():
        async with aclosing(_items(visit, engine, request)) as items:
            async for item in items:
                yield item


async def _items(
    visit: "_Visit", engine: SplitEngine, request: Request
) -> AsyncGenerator[Item | Completion, None]:
    call = visit.call(request)
    saved = await visit.saved(call)
    if "items" in saved:
        for replayed in unpacked(saved):
            yield replayed
        return
    answered = visit.answered(saved["paused"]) if "paused" in saved else None
    items: list[Item | Completion] = []
    paused: Paused | None = None
    async with aclosing(segment(engine, request, answered)) as running:
        async for item in running:
            if isinstance(item, Paused):
                paused = item
                break
            items.append(item)
            if isinstance(item, Completion):
                await visit.save(call, packed(items))
            yield item
    if paused is not None:
        await visit.save(call, {"paused": paused.to_json()})
        await visit.ask(paused)


class _Current(BaseModel):
    """The question that a work item asked last, as the workflow's state keeps it."""

    # An earlier version kept the question here, too.
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    id: str
    until: float | None
    taken_by: str | None


class _Visit:
    """One execution of a step and its work item's part of the workflow's state.

    That part holds `calls`, a record for each of the step's requests, and `current`, the question
    asked last: its id, until when, and which execution took the answer. It may come from a file, so
    it is checked like other input; what was paused is signed where there are keys.
    """

    _running: ClassVar[WeakKeyDictionary[Context[Any], Self]] = WeakKeyDictionary()

    def __init__(self, execution: Execution, keys: Keys) -> None:
        self._execution = execution
        self._keys = keys
        self._answered: Answered | None = None
        self._counts: Counter[str] = Counter()
        self._busy = False
        key = hashlib.sha256(execution.work_item.encode()).hexdigest()[:32]
        self._path = f"{_STORE}.{key}"

    @classmethod
    async def now(cls, keys: Keys) -> Self:
        """Return the visit of the step that runs now; begin it where this is its first request."""
        execution = Execution()
        known = cls._running.get(execution.context)
        if known is None:
            known = cls._running[execution.context] = cls(execution, keys)
            await known._begin()
        return known

    @contextmanager
    def one_request(self) -> Generator[None, None, None]:
        """Keep a second request from beginning before this one has ended."""
        if self._busy:
            raise ConfigurationError(
                "with WorkflowReviewer the requests of one step follow one another: await the "
                "first before the second, or give each a step of its own"
            )
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def call(self, request: Request) -> str:
        """Return the name of a request among the step's: the same one when the step runs again."""
        data = json.dumps({**request.data(), "request_id": ""}, sort_keys=True)
        digest = hashlib.sha256(data.encode()).hexdigest()[:32]
        self._counts[digest] += 1
        return f"{digest}:{self._counts[digest]}"

    async def saved(self, call: str) -> dict[str, Any]:
        """Return what was saved of a request; nothing for a new one."""
        saved: dict[str, Any] = await self._get(f"calls.{call}", {})
        return saved

    async def save(self, call: str, record: dict[str, Any]) -> None:
        """Save a request's record."""
        await self._set(f"calls.{call}", record)

    def answered(self, text: str) -> Answered:
        """Return a paused request with the answer that woke this execution."""
        answered, self._answered = self._answered, None
        if answered is None or Paused.from_json(text).question.id != answered.paused.question.id:
            raise ConfigurationError(
                "a step made other requests when it ran again than before; let what its prompts "
                "hold come from its event or from the workflow's state"
            )
        return answered

    async def ask(self, paused: Paused) -> None:
        """End the execution until a person has answered."""
        question, timeout_s = paused.question, paused.timeout_s
        until = None if timeout_s is None else time.time() + timeout_s
        current = {
            "id": question.id,
            "until": until,
            "taken_by": None,
        }
        await self._set("current", current)
        event = QuestionEvent(id=question.id, question=question)
        self._execution.ask(question.id, event, timeout_s=timeout_s)

    async def _begin(self) -> None:
        """Find out what woke this execution; only one goes on from each answer."""
        execution = self._execution
        known = await self._get("current", None)
        if known is None:
            await self._forget_others()
            await self._set("work_item", execution.work_item)
            return
        current = checked(_Current, known, place="current")
        waiter = execution.waiter_of(current.id)
        if waiter is None:  # the step was complete, and something late woke it
            execution.end_unchanged()
        given = waiter.resolved_event
        if given is not None and given.get("id", None) != current.id:
            execution.wait_again(current.id)
        until = current.until
        if given is None and not waiter.timed_out and (until is None or until > time.time()):
            execution.end_unchanged(until=until)
        paused = await self._paused(current.id)
        if paused is not None and given is not None:
            self._answered = self._read(given, paused)
        elif paused is not None:
            answer = Answer(decision=paused.on_timeout, by=TIMEOUT)
            self._answered = Answered.of(paused, answer)
        taken_by = current.taken_by
        if taken_by is not None and execution.is_invocation_of(taken_by) and not execution.is_retry:
            execution.end_unchanged()
        await self._set("current", {**current.model_dump(), "taken_by": execution.invocation})
        execution.delete_waiters()

    async def _paused(self, question_id: str) -> Paused | None:
        """Return the paused request that a question is about; None where it is finished."""
        for record in (await self._get("calls", {})).values():
            if isinstance(record, dict) and "paused" in record:
                paused = Paused.from_json(record["paused"])
                if paused.question.id == question_id:
                    return check_paused(paused, self._keys)
        return None

    def _read(self, given: HumanResponseEvent, paused: Paused) -> Answered:
        """Return the answer of an event; ask again, with the reason, where it is none."""
        question = paused.question
        try:
            return Answered.of(paused, given.get("response", None), by="workflow")
        except (ConfigurationError, TypeError) as error:
            event = QuestionEvent(id=question.id, question=question, problem=str(error))
            self._execution.wait_again(question.id, event)

    async def _forget_others(self) -> None:
        """Drop what is kept of this step's earlier work items, unless they still run or wait."""
        execution = self._execution
        alive = {visit._execution.work_item for visit in self._running.values()}
        alive |= execution.waiting_items
        known = await execution.context.store.get(_STORE, {})
        step = f"{execution.step_name}/"
        if all(_is_kept(one, step, alive) for one in known.values()):
            return
        async with execution.context.store.edit_state() as state:
            records = getattr(state, _STORE)
            kept = {key: one for key, one in records.items() if _is_kept(one, step, alive)}
            setattr(state, _STORE, kept)

    async def _get(self, path: str, default: Any) -> Any:
        return await self._execution.context.store.get(f"{self._path}.{path}", default)

    async def _set(self, path: str, value: Any) -> None:
        try:
            await self._execution.context.store.set(f"{self._path}.{path}", value)
        except ValueError as error:
            raise ConfigurationError(
                f"the workflow's state has no place for what WorkflowReviewer keeps ({error}): "
                f"give its class a field `{_STORE}: dict = {{}}`"
            ) from error


def _is_kept(record: dict[str, Any], step: str, alive: set[str]) -> bool:
    item = str(record.get("work_item", ""))
    return item in alive or not item.startswith(step)

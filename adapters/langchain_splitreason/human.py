"""A person in a LangGraph graph: `interrupt` asks, and what was written before is checkpointed.

Each stretch of a reply between two questions is a task of the graph, so its result is saved.
Resumed days later in another process, nothing is generated twice and nothing is asked twice.
"""

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import asdict
from typing import Any

from splitreason_integrations import blocking
from splitreason_integrations.desk import Item
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError, MissingExtraError
from splitreason_integrations.events import Event
from splitreason_integrations.human import Answer, Paused, Question, read_answer
from splitreason_integrations.records import Completion, completion_from, delta_from
from splitreason_integrations.request import Request

_POLL_S = 0.02
Saved = dict[str, Any]
"""The result of a stretch: the request put aside, or all of a finished reply."""


class InterruptReviewer:
    """Asks by LangGraph's `interrupt`; the graph goes on with `Command(resume=...)`.

    What is asked arrives as a dict with the facts of a `Question`, its `id` among them. The answer
    may be a decision such as "approve", a truth value, or a dict with `decision`, `text` and `by`.
    The graph needs a checkpointer, and the chat model must be called in one of its nodes.
    """

    async def review(self, paused: Paused) -> Answer | None:
        """Return None: the request is put aside, and the graph interrupted."""
        return None


def asks_by_interrupt(engine: SplitEngine) -> bool:
    """Return whether an engine's human check interrupts a graph."""
    check = engine.human_check
    return check is not None and isinstance(check.reviewer, InterruptReviewer)


def items_in_graph(
    engine: SplitEngine, request: Request
) -> Generator[Item | Completion, None, None]:
    """Yield a request's items, for a synchronous node."""
    paused, answer, number = None, None, 0
    while True:
        fresh: queue.SimpleQueue[Item | Completion] = queue.SimpleQueue()

        def stretch(number: int, paused: Any = paused, answer: Any = answer) -> Saved:
            items: list[Item | Completion] = []
            with closing(blocking.iterate(_items(engine, request, paused, answer))) as running:
                for item in running:
                    if isinstance(item, Paused):
                        return {"paused": item.to_json()}
                    items.append(item)
                    fresh.put(item)  # noqa: B023 - read before the next stretch begins
            return _packed(items)

        future = _task(stretch)(number)
        came = False
        while not (future.done() and fresh.empty()):
            try:
                item = fresh.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            came = True
            yield item
        saved = future.result()
        if "paused" not in saved:
            yield from () if came else _unpacked(saved)
            return
        paused = Paused.from_json(saved["paused"])
        answer, number = _interrupt(paused.question), number + 1


async def aitems_in_graph(
    engine: SplitEngine, request: Request
) -> AsyncGenerator[Item | Completion, None]:
    """Yield a request's items, for an asynchronous node."""
    paused, answer, number = None, None, 0
    while True:
        fresh: asyncio.Queue[Item | Completion | None] = asyncio.Queue()

        async def stretch(number: int, paused: Any = paused, answer: Any = answer) -> Saved:
            items: list[Item | Completion] = []
            async with aclosing(_items(engine, request, paused, answer)) as running:
                async for item in running:
                    if isinstance(item, Paused):
                        return {"paused": item.to_json()}
                    items.append(item)
                    fresh.put_nowait(item)  # noqa: B023 - read before the next stretch begins
            return _packed(items)

        future = asyncio.ensure_future(_task(stretch)(number))
        future.add_done_callback(lambda _: fresh.put_nowait(None))  # noqa: B023 - see above
        came = False
        try:
            while (item := await fresh.get()) is not None:
                came = True
                yield item
        finally:
            future.cancel()
        saved = future.result()
        if "paused" not in saved:
            for item in () if came else _unpacked(saved):
                yield item
            return
        paused = Paused.from_json(saved["paused"])
        answer, number = _interrupt(paused.question), number + 1


def _items(
    engine: SplitEngine, request: Request, paused: Paused | None, answer: Answer | None
) -> AsyncGenerator[Item | Completion | Paused, None]:
    """Return a stretch's items; what was written before it is told again, events left out."""
    if paused is None or answer is None:
        return engine.stream(request)
    return engine.resume(paused, answer, retell=True)


def _task(stretch: Callable[..., Any]) -> Callable[[int], Any]:
    try:
        from langgraph.func import task
    except ImportError as error:
        raise MissingExtraError(
            "InterruptReviewer needs langgraph: pip install langgraph; outside a graph use another "
            "reviewer"
        ) from error

    def call(number: int) -> Any:
        try:
            run: Any = task(name="splitreason")(stretch)
            return run(number)
        except (RuntimeError, KeyError) as error:
            raise ConfigurationError(
                "InterruptReviewer works in a node of a LangGraph graph with a checkpointer; "
                "outside one use another reviewer, a function perhaps"
            ) from error

    return call


def _interrupt(question: Question) -> Answer:
    from langgraph.types import interrupt

    given = interrupt({"id": question.id, **asdict(question)})
    return read_answer(given, by="graph")


def _packed(items: list[Item | Completion]) -> Saved:
    """Return a finished reply as plain data; its events were told when they happened."""
    told = [item for item in items if not isinstance(item, Event)]
    return {"items": [asdict(item) for item in told]}


def _unpacked(saved: Saved) -> list[Item | Completion]:
    *deltas, reply = saved["items"]
    return [*map(delta_from, deltas), completion_from(reply)]

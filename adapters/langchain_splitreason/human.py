"""Human checks in a LangGraph graph: `interrupt` asks, and the reply so far is checkpointed.

Each segment of a reply between two questions is a task of the graph, so its result is saved. A
graph resumed days later in another process neither generates nor asks anything twice.
"""

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import asdict
from typing import Any

from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError, MissingExtraError
from splitreason_integrations.humans.human import (
    Answer,
    HumanCheck,
    Paused,
    named_reviewer,
)
from splitreason_integrations.loop.paused_state import check_paused
from splitreason_integrations.loop.segments import Answered, Saved, packed, segment, unpacked
from splitreason_integrations.loop.state import Item
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request

_POLL_S = 0.02


@named_reviewer
class InterruptReviewer:
    """Asks by LangGraph's `interrupt`; the graph goes on with `Command(resume=...)`.

    The interrupt's value is a dict with the facts of a `Question` and its `id`. The answer
    may be a decision such as "approve", a truth value, or a dict with `decision`, `text` and `by`,
    and with the question's `id` where it is to be checked. One that is no answer is asked for again
    by another interrupt, whose `problem` says why; `problem` is empty before.
    The graph needs a checkpointer, and the chat model must be called in one of its nodes.
    """

    async def review(self, paused: Paused) -> Answer | None:
        """Return None: the request is paused and the graph interrupted."""
        return None


def asks_by_interrupt(engine: SplitEngine) -> bool:
    """Return whether an engine's human check interrupts a graph."""
    check = engine.human_check
    return check is not None and isinstance(check.reviewer, InterruptReviewer)


def check_handled(check: HumanCheck | None, kinds: Any) -> None:
    """Refuse to handle a graph's interrupts as failures: nobody would be asked, or asked twice.

    Raises:
        ConfigurationError: `kinds`, the exceptions to handle, include interrupts.

    """
    if check is None or not isinstance(check.reviewer, InterruptReviewer):
        return
    from langgraph.errors import GraphInterrupt

    if isinstance(kinds, tuple) and issubclass(GraphInterrupt, kinds):
        raise ConfigurationError(
            "the human check interrupts the graph by an exception, which would be handled as a "
            "failure: name the failures, as in with_fallbacks([...], exceptions_to_handle="
            "(ModelAPIError, ModelConnectionError)) or with_retry(retry_if_exception_type=...)"
        )


def items_in_graph(
    engine: SplitEngine, request: Request
) -> Generator[Item | Completion, None, None]:
    """Yield a request's items, for a synchronous node."""
    answered, number = None, 0
    while True:
        fresh: queue.SimpleQueue[Item | Completion] = queue.SimpleQueue()

        def run(number: int, answered: Answered | None = answered) -> Saved:
            items: list[Item | Completion] = []
            with closing(blocking.iterate(segment(engine, request, answered))) as running:
                for item in running:
                    if isinstance(item, Paused):
                        return {"paused": item.to_json()}
                    items.append(item)
                    fresh.put(item)  # noqa: B023 - read before the next segment begins
            return packed(items)

        future = _task(run)(number)
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
            yield from () if came else unpacked(saved)
            return
        answered, number = _answered(engine, saved), number + 1


async def aitems_in_graph(
    engine: SplitEngine, request: Request
) -> AsyncGenerator[Item | Completion, None]:
    """Yield a request's items, for an asynchronous node."""
    answered, number = None, 0
    while True:
        fresh: asyncio.Queue[Item | Completion | None] = asyncio.Queue()

        async def run(number: int, answered: Answered | None = answered) -> Saved:
            items: list[Item | Completion] = []
            async with aclosing(segment(engine, request, answered)) as running:
                async for item in running:
                    if isinstance(item, Paused):
                        return {"paused": item.to_json()}
                    items.append(item)
                    fresh.put_nowait(item)  # noqa: B023 - read before the next segment begins
            return packed(items)

        future = asyncio.ensure_future(_task(run)(number))
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
            for item in () if came else unpacked(saved):
                yield item
            return
        answered, number = _answered(engine, saved), number + 1


def _task(run: Callable[..., Any]) -> Callable[[int], Any]:
    try:
        from langgraph.func import task
    except ImportError as error:
        raise MissingExtraError(
            "InterruptReviewer needs langgraph: pip install 'splitreason-integrations[langgraph]'; "
            "outside a graph use another reviewer"
        ) from error

    def call(number: int) -> Any:
        try:
            saving: Any = task(name="splitreason")(run)
            return saving(number)
        except (RuntimeError, KeyError) as error:
            raise ConfigurationError(
                "InterruptReviewer works in a node of a LangGraph graph with a checkpointer; "
                "outside one use another reviewer, a function perhaps"
            ) from error

    return call


def _answered(engine: SplitEngine, saved: Saved) -> Answered:
    """Return a paused request with its answer; ask again, with the reason, where it is none."""
    from langgraph.types import interrupt

    paused = check_paused(Paused.from_json(saved["paused"]), engine.pause_keys)
    question, problem = paused.question, ""
    while True:
        # What was answered before comes again each time that the node runs, in the same order.
        given = interrupt({"id": question.id, **asdict(question), "problem": problem})
        try:
            return Answered.of(paused, given, by="graph")
        except (ConfigurationError, TypeError) as error:
            problem = str(error)

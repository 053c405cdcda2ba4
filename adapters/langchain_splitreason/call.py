"""One request through the engine: its chunks, its events, and the closing of both models."""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractContextManager, aclosing, closing

from langchain_core.outputs import ChatGenerationChunk

from langchain_splitreason.errors import recognised
from langchain_splitreason.events import Delivery
from langchain_splitreason.human import aitems_in_graph, asks_by_interrupt, items_in_graph
from langchain_splitreason.results import ReplyWriter
from langchain_splitreason.runs import Run
from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ReviewPendingError
from splitreason_integrations.events import Event
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.loop.segments import Answered, segment
from splitreason_integrations.loop.state import Item
from splitreason_integrations.records import Completion, Delta
from splitreason_integrations.request import Request
from splitreason_integrations.text.tool_choice import Tool, check_choice


class Call:
    """A request with the run it belongs to. `chunks` and `achunks` write the same reply."""

    def __init__(
        self,
        engine: SplitEngine,
        request: Request,
        run: Run,
        *,
        model_name: str,
        tools: Sequence[Tool],
        tool_choice: str,
        answered: Answered | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._answered = answered
        self._run = run
        self._tools = tools
        self._tool_choice = tool_choice
        self._delivery = Delivery(run.manager)
        self._writer = ReplyWriter(model_name=model_name, request_id=request.request_id[:8])

    def chunks(self) -> Generator[ChatGenerationChunk, None, None]:
        """Return the reply's chunks, for synchronous callers."""
        self._run.writing = chunks = self._chunks()
        return chunks

    def achunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Return the reply's chunks."""
        self._run.writing = chunks = self._achunks()
        return chunks

    def _chunks(self) -> Generator[ChatGenerationChunk, None, None]:
        with self._recognised(), closing(self._iterated()) as items:
            try:
                for item in items:
                    if isinstance(item, Event):
                        self._delivery.now(item)
                    elif chunk := self._chunk(item):
                        yield chunk
            except BaseException as error:
                self._delivery.abandon(error)
                raise

    async def _achunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        with self._recognised():
            async with aclosing(self._items()) as items:
                try:
                    async for item in items:
                        if isinstance(item, Event):
                            await self._delivery.later(item)
                        elif chunk := self._chunk(item):
                            yield chunk
                except BaseException as error:
                    await self._delivery.abandon_later(error)
                    raise

    def _recognised(self) -> AbstractContextManager[None]:
        return recognised(self._engine.retry.is_worth)

    def _iterated(self) -> Generator[Item | Completion, None, None]:
        if self._in_graph:
            return items_in_graph(self._engine, self._request)
        return blocking.iterate(self._items())

    @property
    def _in_graph(self) -> bool:
        return self._answered is None and asks_by_interrupt(self._engine)

    async def _items(self) -> AsyncGenerator[Item | Completion, None]:
        stream: AsyncGenerator[Item | Completion | Paused, None] = (
            aitems_in_graph(self._engine, self._request)
            if self._in_graph
            else segment(self._engine, self._request, self._answered)
        )
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Paused):
                    raise ReviewPendingError(item.question.id, item)
                yield item

    def _chunk(self, item: Delta | Completion) -> ChatGenerationChunk | None:
        if isinstance(item, Completion):
            check_choice(self._tool_choice, self._tools, item)
            return self._writer.last(item)
        self._delivery.add_text(item)
        return self._writer.chunk(item)

"""One request through the engine: its responses, its events, and the closing of both models."""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing

from llama_index.core.base.llms.types import ChatResponse

from llama_index.llms.splitreason.events import Delivery
from llama_index.llms.splitreason.human import asks_in_workflow, items_in_workflow
from llama_index.llms.splitreason.replies import ReplyWriter
from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError, ReviewPendingError
from splitreason_integrations.events import Event
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.loop.segments import Answered, segment
from splitreason_integrations.loop.state import Item
from splitreason_integrations.records import Completion, Delta
from splitreason_integrations.request import Request
from splitreason_integrations.text.tool_choice import Tool, check_choice

Stream = AsyncGenerator[Item | Completion, None] | AsyncGenerator[Item | Completion | Paused, None]


class Call:
    """One request through the engine. `responses` and `aresponses` write the same reply."""

    def __init__(
        self,
        engine: SplitEngine,
        request: Request,
        model_name: str,
        tools: Sequence[Tool],
        tool_choice: str,
        answered: Answered | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._answered = answered
        self._tools = tools
        self._tool_choice = tool_choice
        self._delivery = Delivery()
        self._writer = ReplyWriter(model_name=model_name, request_id=request.request_id[:8])

    def responses(self) -> Generator[ChatResponse, None, None]:
        """Return the growing response, for synchronous callers."""
        if self._in_workflow:
            raise ConfigurationError(
                "WorkflowReviewer asks in asynchronous steps alone: await achat, acomplete or "
                "astream_chat there"
            )
        return self._responses(self._items())

    def aresponses(self) -> AsyncGenerator[ChatResponse, None]:
        """Return the growing response."""
        return self._aresponses(self._items())

    def _responses(self, stream: Stream) -> Generator[ChatResponse, None, None]:
        with closing(blocking.iterate(stream)) as items:
            for item in items:
                if response := self._response(item):
                    yield response

    async def _aresponses(self, stream: Stream) -> AsyncGenerator[ChatResponse, None]:
        async with aclosing(stream) as items:
            async for item in items:
                if response := self._response(item):
                    yield response

    def _items(self) -> Stream:
        if self._in_workflow:
            return items_in_workflow(self._engine, self._request)
        return segment(self._engine, self._request, self._answered)

    @property
    def _in_workflow(self) -> bool:
        return self._answered is None and asks_in_workflow(self._engine)

    def _response(self, item: Delta | Event | Completion | Paused) -> ChatResponse | None:
        if isinstance(item, Paused):
            raise ReviewPendingError(item.question.id, item)
        if isinstance(item, Event):
            self._delivery.deliver(item)
            return None
        if isinstance(item, Completion):
            check_choice(self._tool_choice, self._tools, item)
            return self._writer.last(item)
        return self._writer.response(item)

"""One streamed completion, read in a task of its own.

However often its reader is cancelled, the connection is returned to the pool or closed: only `end`
interrupts the task, through a scope that the closing of connections is shielded from. A bare
cancellation would leave some connections neither open nor closed.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import anyio

from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.wire import (
    Part,
    Question,
    UnreadableError,
    Usage,
)
from splitreason_integrations.errors import ModelCallError

_LINE_BYTES = 1 << 16
_BYTES_A_PROMPT_TOKEN = 24
_BYTES_A_TOKEN = 1 << 12
_SPARE_BYTES = 1 << 20
_PARTS_AHEAD = 64
_SETTLE_S = 0.1
_SILENT_S = 1.0
"""A server that is given up after so long without an event counts as failed."""


class Call:
    """A request to a replica, sent at once."""

    def __init__(self, replica: Replica, question: Question) -> None:
        self.replica = replica
        self._server = replica.server
        self._heard_s = time.monotonic()
        self.read_s = replica.server.read_s
        self._parts: asyncio.Queue[Part | Exception | None] = asyncio.Queue(_PARTS_AHEAD)
        self._scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._read(question))
        replica.calls += 1
        self._task.add_done_callback(self._left)

    async def next(self) -> Part | None:
        """Return the next part of the answer, None behind the last; raise what went wrong."""
        part = await self._parts.get()
        # Whoever reads slowly hears what was said long ago.
        self._heard_s = time.monotonic()
        if isinstance(part, Exception):
            raise part
        if part is not None:
            self.replica.answered()
        return part

    def broken(self, what: str, *, retryable: bool = True) -> ModelCallError:
        """Return the error for an answer that is not as it must be; its server rests."""
        self.replica.failed()
        return self._server.broken(what, retryable=retryable)

    def stalled(self) -> ModelCallError:
        """Return the error for an answer that does not come in time; its server rests."""
        self.replica.failed()
        return self._server.stalled()

    async def usage(self) -> Usage | None:
        """Return the usage that the server reports after a finished answer, if at once."""
        try:
            async with asyncio.timeout(_SETTLE_S):
                while (part := await self.next()) is not None:
                    if part.usage is not None:
                        return part.usage
        except (TimeoutError, ModelCallError):
            # The answer is whole; its tokens are then counted here.
            return None
        return None

    async def settle(self) -> None:
        """Wait a moment for a finished answer's end, so that its connection can be used again."""
        await asyncio.wait({self._task}, timeout=_SETTLE_S)

    def end(self) -> None:
        """End the request at once, where it has not ended by itself."""
        self._scope.cancel()

    async def ended(self) -> None:
        """End the request and wait until nothing is left of it."""
        if not self._task.done() and time.monotonic() - self._heard_s > _SILENT_S:
            self.replica.failed()
        self.end()
        await asyncio.wait({self._task})

    def _left(self, _: asyncio.Task[None]) -> None:
        self.replica.calls -= 1

    async def _read(self, question: Question) -> None:
        with self._scope:
            try:
                await self._put_all(question)
            except UnreadableError as error:
                lasting = error.lasting
                await self._parts.put(self.broken(str(error), retryable=not lasting))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for the answer
                if getattr(error, "retryable", True):
                    self.replica.failed()
                await self._parts.put(error)

    async def _put_all(self, question: Question) -> None:
        async with aclosing(self._events(question)) as events:
            async for data in events:
                self._heard_s = time.monotonic()
                await self._parts.put(None if data is None else question.read(data))

    async def _events(self, question: Question) -> AsyncGenerator[Any, None]:
        """Yield the events' data, None where the answer says that it is done or ends."""
        server = self._server
        line_bytes = _LINE_BYTES + _BYTES_A_PROMPT_TOKEN * question.prompt_tokens
        all_bytes = line_bytes + _BYTES_A_TOKEN * question.max_tokens + _SPARE_BYTES
        async with server.post(question.path, question.body) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise server.broken(
                    f"answers with {kind[:40]!r}, not with an event stream; see that the address "
                    "is that of an OpenAI-compatible server",
                    retryable=False,
                )
            lines = server.lines(response, line_bytes=line_bytes, all_bytes=all_bytes)
            async with aclosing(lines):
                async for line in lines:
                    field, _, value = line.partition(b":")
                    if field != b"data":
                        continue
                    done = value.strip() == b"[DONE]"
                    data = None if done else server.read(value)
                    if isinstance(data, Mapping) and data.get("error") is not None:
                        raise server.error_in_answer(data["error"])
                    yield data
        yield None

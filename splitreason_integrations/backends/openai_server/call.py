"""One streamed completion, read in a task of its own.

However often its reader is cancelled, the connection is returned to the pool or closed: only `end`
interrupts the task, through a scope that the closing of connections is shielded from. A bare
cancellation would leave some connections neither open nor closed.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import anyio

from splitreason_integrations.backends.openai_server.refusals import LeftOut
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.stream import EventReader, Kind, StreamEvent
from splitreason_integrations.backends.openai_server.wire import (
    SIGN_OF_LIFE,
    Part,
    Question,
    UnreadableError,
    Usage,
    has_choices,
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
_SIGNS_A_WAIT = 8
"""How many signs of life are passed on in the time in which one is due."""
_PATIENCE = 10
"""How many times as long as for an event is waited for news where there are signs of life."""


class _Whole:
    """Comes after the last part of an answer that the server says is whole."""


class Call:
    """A request to a replica, sent at once.

    Attributes:
        replica: who is asked.
        question: what is asked.
        sent: the body that is sent: without what the server is known not to take.
        is_whole: whether the server said that the answer ends where it does.

    """

    def __init__(self, replica: Replica, question: Question) -> None:
        self.replica = replica
        self.question = question
        self.sent: Mapping[str, Any] = question.body
        if question.is_lenient:
            self.sent = replica.lessons.fitted(question.body)
        self.is_whole = False
        self._server = replica.server
        self._heard_s = self._news_s = self._sign_s = time.monotonic()
        self._read_s = replica.server.read_s
        self._parts: asyncio.Queue[Part | Exception | _Whole | None] = asyncio.Queue(_PARTS_AHEAD)
        self._scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._read(question))
        replica.calls += 1
        self._task.add_done_callback(self._left)

    @property
    def patience_s(self) -> float:
        """How long to wait for the next part; signs of life alone lengthen it to a bound."""
        until_s = self._news_s + _PATIENCE * self._read_s
        return max(0.0, min(self._read_s, until_s - time.monotonic()))

    @property
    def missing(self) -> frozenset[LeftOut]:
        """What its server is known not to take, of what is asked."""
        if not self.question.is_lenient:
            return frozenset()
        return self.replica.lessons.missing(self.question.body)

    async def next(self) -> Part | None:
        """Return the next part of the answer, None behind the last; raise what went wrong."""
        part = await self._parts.get()
        # Whoever reads slowly hears what was said long ago.
        self._heard_s = time.monotonic()
        if isinstance(part, Exception):
            raise part
        if isinstance(part, _Whole):
            self.is_whole, part = True, None
        elif part is not None:
            self.replica.answered()
            if part.is_news:
                self._news_s = self._heard_s
        return part

    async def news(self) -> Part | None:
        """Return the next part that says something, None behind the last; raise ModelCallError."""
        while True:
            try:
                async with asyncio.timeout(self.patience_s):
                    part = await self.next()
            except TimeoutError:
                raise self.stalled() from None
            if part is None or part.is_news:
                return part

    def broken(self, what: str, *, retryable: bool = True) -> ModelCallError:
        """Return the error for an answer that is not as it must be; its server rests."""
        self.replica.failed()
        return self._server.broken(what, retryable=retryable)

    def learns(self, error: ModelCallError) -> bool:
        """Return whether a refusal says what to leave out, so that asking again may do."""
        if not self.question.is_lenient:
            return False
        lessons = self.replica.lessons
        return lessons.renames(error, self.sent) or bool(lessons.learn(error, self.sent))

    def refused(self, what: str) -> ModelCallError:
        """Return the error for an answer that the server does not give; it is as well as before."""
        return self._server.broken(what, retryable=False)

    def stalled(self) -> ModelCallError:
        """Return the error for an answer that does not come in time; its server rests."""
        self.replica.failed()
        return self._server.stalled()

    async def usage(self, *, wait_s: float = _SETTLE_S) -> Usage | None:
        """Return the usage that the server reports after a finished answer, if in time."""
        try:
            async with asyncio.timeout(wait_s):
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
            async for event in events:
                self._heard_s = time.monotonic()
                if event.kind is Kind.DONE:
                    await self._parts.put(_Whole())
                elif event.kind is Kind.DATA:
                    await self._parts.put(question.read(event.data))
                elif self._heard_s - self._sign_s > self._read_s / _SIGNS_A_WAIT:
                    self._sign_s = self._heard_s
                    await self._parts.put(SIGN_OF_LIFE)
        await self._parts.put(None)

    async def _events(self, question: Question) -> AsyncGenerator[StreamEvent, None]:
        """Yield parts of the answer, signs of life, and that it is whole; raise ModelCallError."""
        server, is_answer = self._server, False
        line_bytes = _LINE_BYTES + _BYTES_A_PROMPT_TOKEN * question.prompt_tokens
        all_bytes = line_bytes + _BYTES_A_TOKEN * question.max_tokens + _SPARE_BYTES
        async with server.post(question.path, self.sent) as response:
            kind = response.headers.get("content-type", "")
            is_stream = kind.startswith("text/event-stream")
            lines = server.lines(response, line_bytes=line_bytes, all_bytes=all_bytes)
            async with aclosing(self._read_events(lines, EventReader(line_bytes))) as events:
                async for event in events:
                    if event.kind is Kind.ERROR or (event.kind is Kind.TEXT and is_stream):
                        raise server.error_in_answer(event.data, self.sent)
                    if event.kind is Kind.TEXT:
                        raise server.no_stream(kind, event.data, self.sent)
                    is_answer = is_answer or has_choices(event.data)
                    yield event
        if not is_answer and not is_stream:
            raise server.no_stream(kind, "")

    async def _read_events(
        self, lines: AsyncGenerator[bytes, None], reader: EventReader
    ) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(lines):
            async for line in lines:
                for event in self._parsed(reader.read(line), line):
                    yield event
        for event in self._parsed(reader.end(), b""):
            yield event

    def _parsed(self, events: Iterable[StreamEvent], line: bytes) -> list[StreamEvent]:
        try:
            return list(events)
        except (ValueError, RecursionError) as error:
            raise self._server.no_json(line, sent=self.sent) from error

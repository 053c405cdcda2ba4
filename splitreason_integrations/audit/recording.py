"""A request's stream, recorded item by item before its caller sees it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any, TypeVar

from splitreason_integrations.audit.log import AuditLog
from splitreason_integrations.audit.plain_data import plain, plain_or_text
from splitreason_integrations.audit.privacy import without_content
from splitreason_integrations.audit.settings import settings_of, settings_of_request
from splitreason_integrations.errors import AuditError
from splitreason_integrations.events import Event
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.loop.observers import observed
from splitreason_integrations.records import Completion, Delta

_Item = TypeVar("_Item")


def recorded(
    log: AuditLog,
    engine: Any,
    request: Any,
    items: AsyncGenerator[_Item, None],
    *,
    resumed: bool = False,
) -> AsyncGenerator[_Item, None]:
    """Yield the items of a request, each after it is in the log.

    A stream that fails, is cancelled or is closed early is recorded too.

    Raises:
        AuditError: the log cannot be written; the item is not yielded then.

    """
    return observed(items, AuditObserver(log, engine, request, resumed=resumed))


class AuditObserver:
    """Records one request in the log."""

    def __init__(self, log: AuditLog, engine: Any, request: Any, *, resumed: bool) -> None:
        self._log = log
        self._engine = engine
        self._request = request
        self._resumed = resumed
        self._deltas: list[Delta] = []
        self._finished = False

    async def started(self) -> None:
        """Record the request and the engine's settings."""
        settings = settings_of_request(self._request, content=self._log.content)
        kind = "request.resumed" if self._resumed else "request.started"
        await self._record(kind, {"engine": settings_of(self._engine), "request": settings})

    def working(self) -> AbstractContextManager[object]:
        """Return an empty context: nothing is needed while an item is made."""
        return nullcontext()

    async def note(self, item: object) -> None:
        """Record an event or the completion; keep a delta for the completion's record."""
        if isinstance(item, Event):
            data = plain(item.data())
            data.pop("request_id", None)
            await self._record(item.name, self._kept(data))
        elif isinstance(item, Completion):
            self._finished = True
            await self._record("request.finished", self._completed(item))
        elif isinstance(item, Paused):
            self._finished = True
            question = item.question
            where = {"span": question.span, "moment": question.moment, "model": question.model}
            await self._record("request.waiting", where)
        elif isinstance(item, Delta) and self._log.content:
            self._deltas.append(item)

    async def ended_early(self, error: BaseException) -> None:
        """Record an error, a cancellation or an early close, unless the request is finished."""
        if self._finished or isinstance(error, AuditError):
            return
        data = {"error": type(error).__name__}
        if not isinstance(error, Exception):
            await self._record("request.cancelled", data)
            return
        message = {"message": str(error)} if self._log.content else {}
        await self._record("request.failed", {**data, **message})

    async def _record(self, kind: str, data: Any) -> None:
        await self._log.record(kind, data, request_id=self._request.request_id)

    def _kept(self, data: Any) -> Any:
        return data if self._log.content else without_content(data)

    def _completed(self, reply: Completion) -> dict[str, Any]:
        facts = plain(reply.facts())
        del facts["request_id"]
        data = {
            **self._kept(facts),
            "usage": {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.tokens,
                "reasoning_tokens": reply.reasoning_tokens,
            },
            "seed": reply.seed,
            "tool_calls": len(reply.tool_calls),
        }
        return {**data, **self._content(reply)} if self._log.content else data

    def _content(self, reply: Completion) -> dict[str, Any]:
        return {
            "reasoning": reply.reasoning,
            "answer": reply.answer,
            "tool_calls": [
                {"name": call.name, "arguments": plain_or_text(call.arguments)}
                for call in reply.tool_calls
            ],
            "pieces": pieces_of(self._deltas),
        }


def pieces_of(deltas: list[Delta]) -> list[dict[str, Any]]:
    """Return the reply as runs of one author in one channel, as plain data."""
    runs = groupby(deltas, key=lambda delta: (delta.author, delta.channel))
    joined = ((author, channel, list(run)) for (author, channel), run in runs)
    return [
        {
            "author": author,
            "channel": channel,
            "text": "".join(delta.text for delta in run),
            "token_ids": [token for delta in run for token in delta.token_ids],
        }
        for author, channel, run in joined
    ]

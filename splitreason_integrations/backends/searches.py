"""Searches shared by many callers; one ends with its result, or when nobody waits any more."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Searches(Generic[_T]):
    """Searches under way, by their key. Each event loop has its own."""

    def __init__(self) -> None:
        self._searches: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Search[_T]] = {}

    async def outcome(self, asked: Hashable, search: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of a search, joining one that is under way; raise what it raises."""
        key = (asyncio.get_running_loop(), asked)
        shared = self._searches.get(key)
        if shared is None or shared.task.done():
            shared = self._searches[key] = _Search(asyncio.ensure_future(search()))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if shared.waiting == 0:
                shared.task.cancel()
                if self._searches.get(key) is shared:
                    del self._searches[key]


class _Search(Generic[_T]):
    """A search and how many wait for it."""

    def __init__(self, task: asyncio.Future[_T]) -> None:
        self.task = task
        self.waiting = 0

"""Closes asynchronous streams that a caller leaves early.

LlamaIndex's callbacks wrap a stream in another one, and closing that leaves the wrapped one open.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from functools import wraps
from typing import Any

_Stream = AsyncGenerator[Any, None]

_begun: ContextVar[list[_Stream] | None] = ContextVar("splitreason_begun", default=None)


def noted(stream: _Stream) -> _Stream:
    """Return a stream that the method which is being called has to close."""
    begun = _begun.get()
    if begun is not None:
        begun.append(stream)
    return stream


def closes_what_it_begins(method: Callable[..., Awaitable[Any]]) -> Any:
    """Have the stream that a method returns close all that were noted meanwhile."""

    @wraps(method)
    async def begin(*args: Any, **kwargs: Any) -> _Stream:
        begun: list[_Stream] = []
        before = _begun.set(begun)
        try:
            return _closing(await method(*args, **kwargs), begun)
        finally:
            _begun.reset(before)

    return begin


async def _closing(outer: _Stream, begun: list[_Stream]) -> _Stream:
    try:
        async with aclosing(outer):
            async for one in outer:
                yield one
    finally:
        for stream in begun:
            await stream.aclose()

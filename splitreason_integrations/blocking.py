"""The one door for synchronous callers: the same engine, run on one background event loop."""

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

_T = TypeVar("_T")

_END = object()
_lock = threading.Lock()
_open: list[BlockingPortal] = []


def run(work: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `work()` returns; interrupting the caller cancels it."""
    return _wait(work)


def iterate(stream: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
    """Yield what `stream` yields, pulling one item at a time; closing closes the stream."""
    try:
        while (item := _wait(_pull, stream)) is not _END:
            yield item  # type: ignore[misc]
    finally:
        _wait(_close, stream)


def _wait(work: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
    """Return what `work` returns; an interrupted wait, Ctrl-C perhaps, cancels it."""
    job = _portal().start_task_soon(work, *arguments)
    try:
        return job.result()
    except BaseException:
        job.cancel()
        raise


async def _pull(stream: AsyncGenerator[_T, None]) -> object:
    return await anext(stream, _END)


async def _close(stream: AsyncGenerator[_T, None]) -> None:
    # An interrupted caller may leave a pull that is still being cancelled; nothing signals its end.
    while stream.ag_running:  # type: ignore[attr-defined]  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await stream.aclose()


def _portal() -> BlockingPortal:
    with _lock:
        if not _open:
            stack = ExitStack()
            _open.append(stack.enter_context(start_blocking_portal()))
            atexit.register(stack.close)
        return _open[0]

"""Runs the async engine for synchronous callers, on one background event loop of the process.

A forked child starts a loop of its own: the parent's thread does not exist there.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from splitreason_integrations.errors import ForkedProcessError
from splitreason_integrations.processes.children import after_fork

_T = TypeVar("_T")

_END = object()


def run(work: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `work()` returns; interrupting the caller cancels it.

    Raises:
        RuntimeError: Where the caller runs on the background loop itself, which would wait for
            itself for ever.

    """
    return _wait(work)


def iterate(stream: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
    """Yield what `stream` yields, pulling one item at a time; closing closes the stream.

    An interrupted caller waits until the pull under way has ended; a second interrupt ends that.

    Raises:
        RuntimeError: As `run` does.
        ForkedProcessError: Where a forked child pulls from its parent's stream.

    """
    getpid = os.getpid  # still there while the interpreter ends, when the module's names are not
    process, puller = getpid(), _Puller(stream)
    try:
        while (item := _wait(puller.pull)) is not _END:
            yield item  # type: ignore[misc]
            if getpid() != process:
                raise ForkedProcessError(
                    "this stream belongs to the process that began it, and this one was forked "
                    "from it meanwhile: begin a new stream here"
                )
    finally:
        # A forked child's copy is not closed: what it holds is still in use by the parent.
        if getpid() == process:
            _wait(puller.close)


class _Puller(Generic[_T]):
    """Pulls from a stream, in the background loop alone."""

    def __init__(self, stream: AsyncGenerator[_T, None]) -> None:
        self._stream = stream
        self._pulling: asyncio.Task[object] | None = None

    async def pull(self) -> object:
        """Return the next item, or `_END`."""
        self._pulling = asyncio.current_task()
        return await anext(self._stream, _END)

    async def close(self) -> None:
        """Close the stream once the last pull has ended: an interrupted one may still run."""
        if self._pulling is not None:
            await asyncio.wait([self._pulling])
        await self._stream.aclose()


@dataclass(frozen=True, slots=True)
class _Exit:
    """Work asked the program to end: `error` is to be raised by whoever waits for it."""

    error: KeyboardInterrupt | SystemExit


class _Background:
    """An event loop on a thread of its own. Closing cancels what still runs there."""

    def __init__(self) -> None:
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="splitreason-loop", daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    async def _serve(self, started: "Future[asyncio.AbstractEventLoop]") -> None:
        self._closing = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._closing.wait()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def submit(self, work: Callable[[], Awaitable[_T]]) -> "Future[_T | _Exit]":
        """Start `work` in the loop; cancelling the future cancels it there."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "a blocking call was made on the event loop that would have to serve it: await "
                "the async method, or make the call in a thread"
            )

        async def outcome() -> _T | _Exit:
            try:
                return await work()
            except (KeyboardInterrupt, SystemExit) as error:
                return _Exit(error)  # raised here, it would end the loop for everybody

        return asyncio.run_coroutine_threadsafe(outcome(), self._loop)

    def leave(self) -> None:
        """Let go of a parent's loop: what began there is not ended in a forked child."""
        self._loop.is_closed = lambda: True  # type: ignore[method-assign]

    def close(self) -> None:
        if self.is_running:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()


class _Holder:
    """The background loop of this process, once something was run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Background | None = None
        after_fork(self._begin_anew)

    def _begin_anew(self) -> None:
        if self._running is not None:
            self._running.leave()
        self._lock, self._running = threading.Lock(), None

    def get(self) -> _Background:
        with self._lock:
            if self._running is None or not self._running.is_running:
                self._running = _Background()
            return self._running

    def close(self) -> None:
        if self._running is not None:
            self._running.close()


_holder = _Holder()
atexit.register(_holder.close)


def _wait(work: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `work` returns; an interrupted wait, Ctrl-C perhaps, cancels it."""
    job = _holder.get().submit(work)
    try:
        result = job.result()
    except BaseException:
        job.cancel()
        raise
    if isinstance(result, _Exit):
        raise result.error
    return result

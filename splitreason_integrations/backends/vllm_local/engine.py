"""vLLM's engines in child processes, and the event loop in which all of them are used.

An `AsyncLLM` belongs to the loop that it was first used in, and callers come from any loop. So
requests run in a loop of the engines' own, and results are handed to the caller's loop. An engine
that died is started again; one that sleeps wakes with the next request.
"""

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, aclosing
from importlib.machinery import ModuleSpec
from typing import Any, TypeVar
from uuid import uuid4

from splitreason_integrations.backends.swapped import swapped
from splitreason_integrations.errors import ForkedProcessError, ModelCallError
from splitreason_integrations.processes.children import PerProcess

_T = TypeVar("_T")
Post = Callable[[Any], None]

_CHILD = "splitreason_integrations.backends.vllm_local.child"
_CLOSES_S = 5.0
_starts = PerProcess(threading.Lock)
_lock = PerProcess(threading.Lock)
_loops: PerProcess[list[asyncio.AbstractEventLoop]] = PerProcess(list)


class Engine:
    """One engine of vLLM.

    Args:
        start: makes an `AsyncLLM`; takes long and blocks.
        label: the model's name, for errors.
        sleep_after_s: seconds without a request after which the weights leave the GPU.
        reloads: whether the engine can take other weights while it runs. On a CPU vLLM 0.32
            cannot: it keeps a packed copy of the old output layer, so the engine is started again.
        on_shut_down: called once the engine's processes have ended.

    """

    def __init__(
        self,
        start: Callable[[], Any],
        *,
        label: str,
        sleep_after_s: float | None = None,
        reloads: bool = True,
        on_shut_down: Callable[[], None] = lambda: None,
    ) -> None:
        self.label = label
        self._on_shut_down = on_shut_down
        self._start = start
        self._sleep_after_s = sleep_after_s
        self._reloads = reloads
        self._llm = _started(start)
        self._starting: asyncio.Task[None] | None = None
        self._failure = ""
        self._is_shut = False
        self._running = 0
        self._asleep = False
        self._turning = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._falling_asleep: asyncio.Task[None] | None = None
        self._process = os.getpid()
        atexit.register(self.shut_down)

    def check_process(self) -> None:
        """Raise ForkedProcessError in a process that was forked from the engine's."""
        if os.getpid() != self._process:
            raise ForkedProcessError(
                f"{self.label}: its engine belongs to the process that started it, and this one "
                "was forked from it: start processes with multiprocessing's 'spawn', or fork "
                "before any model is loaded (gunicorn: without --preload)"
            )

    @property
    def is_asleep(self) -> bool:
        """Whether the weights are off the GPU."""
        return self._asleep

    def do(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run what asks the engine in the engines' loop; cancelling ends it there at once."""
        return asyncio.run_coroutine_threadsafe(work, _loop())

    async def write(self, prompt: Sequence[int], params: Any, post: Post) -> None:
        """Post what is written behind a prompt, piece by piece, or the error; in the loop alone."""

        async def written(llm: Any) -> None:
            async with aclosing(_outputs(llm, prompt, params)) as outputs:
                async for output in outputs:
                    post(output.outputs[0])

        try:
            await self._asked(written)
        except ModelCallError as error:
            post(error)

    async def last(self, prompts: Sequence[Sequence[int]], params: Any) -> list[Any]:
        """Return the last output for each of some prompts, all in one batch."""

        async def one(llm: Any, prompt: Sequence[int]) -> Any:
            async with aclosing(_outputs(llm, prompt, params)) as outputs:
                return [output async for output in outputs][-1]

        async def each(llm: Any) -> list[Any]:
            return await asyncio.gather(*(one(llm, prompt) for prompt in prompts))

        return await self._asked(each)

    async def reload(self) -> None:
        """Read the model's files anew and forget what the old weights kept; nothing may run."""
        if not self._reloads:
            await asyncio.to_thread(self._llm.shutdown)
            self._llm = await asyncio.to_thread(_started, self._start)
            return

        async def reloaded(llm: Any) -> None:
            await llm.collective_rpc("reload_weights")
            if not await llm.reset_prefix_cache():
                raise ModelCallError(
                    f"{self.label}: weights were changed while requests ran; end them first",
                    retryable=False,
                )

        await self._asked(reloaded)

    def shut_down(self) -> None:
        """End the engine's processes; nothing can be asked any more."""
        atexit.unregister(self.shut_down)
        if os.getpid() == self._process:
            self._is_shut = True
            try:
                self.do(_stop_listening(self._llm)).result(_CLOSES_S)
            finally:
                self._llm.shutdown()
                self._on_shut_down()

    async def _asked(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        """Do what asks the engine, once it is there and awake."""
        self._running += 1
        try:
            return await work(await self._awake())
        except ModelCallError:
            raise
        except Exception as error:  # vLLM raises whatever its parts raise
            raise self._as_call_error(error) from error
        finally:
            self._running -= 1
            self._rest()

    async def _awake(self) -> Any:
        if self._llm.errored:
            raise self._dead()
        async with self._turning:
            if self._asleep:
                await self._llm.wake_up()
                self._asleep = False
        return self._llm

    def _rest(self) -> None:
        """Have the engine sleep some time from now, unless it is asked for something."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sleep_after_s is not None and not self._running:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._sleep_after_s, self._go_to_sleep)

    def _go_to_sleep(self) -> None:
        # Kept, for a task that nobody holds may be collected before it is done.
        self._falling_asleep = asyncio.ensure_future(self._sleep())

    async def _sleep(self) -> None:
        async with self._turning:
            if not (self._running or self._asleep or self._llm.errored):
                await self._llm.sleep(level=1)
                self._asleep = True

    def _as_call_error(self, error: BaseException) -> ModelCallError:
        """Return an error of vLLM as one of this package."""
        from vllm.exceptions import VLLMClientError

        if self._llm.errored:
            return self._dead()
        reason = str(error).partition("\n")[0] or type(error).__name__
        return ModelCallError(
            f"{self.label}: {reason}", retryable=not isinstance(error, VLLMClientError)
        )

    def _dead(self) -> ModelCallError:
        """Start the engine again, where that is not under way; return the error meanwhile."""
        if self._is_shut:
            return ModelCallError(f"{self.label} was shut down", retryable=False)
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start_again())
        return ModelCallError(
            f"{self.label}: vLLM's engine ended, its log says why; it is being started again"
            f"{self._failure}",
            retryable=True,
        )

    async def _start_again(self) -> None:
        try:
            await asyncio.to_thread(self._llm.shutdown)
            self._llm = await asyncio.to_thread(_started, self._start)
            self._asleep, self._failure = False, ""
        except Exception as error:  # noqa: BLE001 - part of the next caller's error
            self._failure = f", which failed the last time: {error}"
        finally:
            self._starting = None


class Writing:
    """What an engine writes for one request, in the loop of whoever asked."""

    def __init__(self, engine: Engine, prompt: Sequence[int], params: Any) -> None:
        self._home = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Any] = asyncio.Queue()
        self._job = engine.do(engine.write(prompt, params, self._post))

    async def next(self) -> Any:
        """Return the next piece, None once the request was ended; raise ModelCallError."""
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def end(self) -> None:
        """End the request at once, from any thread."""
        self._job.cancel()
        if not self._home.is_closed():
            self._post(None)

    def _post(self, piece: Any) -> None:
        self._home.call_soon_threadsafe(self._pieces.put_nowait, piece)


async def _stop_listening(llm: Any) -> None:
    """End the task that hears of the engine, which would take its end for an accident."""
    if llm.output_handler is not None:
        llm.output_handler.cancel()
        await asyncio.wait({llm.output_handler})


def _outputs(llm: Any, prompt: Sequence[int], params: Any) -> Any:
    from vllm.inputs import tokens_input

    return llm.generate(tokens_input(list(prompt)), params, uuid4().hex)


def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop that all engines live in; its thread ends with the process."""
    loops = _loops.value
    with _lock.value:
        if not loops:
            loops.append(asyncio.new_event_loop())
            threading.Thread(
                target=loops[0].run_forever, name="splitreason-vllm", daemon=True
            ).start()
        return loops[0]


def _started(start: Callable[[], _T]) -> _T:
    with _starts.value, _own_main():
        return start()


def _own_main() -> AbstractContextManager[None]:
    """Have processes that are spawned in the block run a module of ours, not the caller's main one.

    A script without `if __name__ == "__main__":` would load its models in every one of them.
    """
    return swapped(sys.modules["__main__"], "__spec__", ModuleSpec(_CHILD, None))

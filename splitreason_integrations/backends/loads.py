"""Loaded models by description, and the loads under way: one for each, whoever waits for it.

Each load has a thread of its own, so that a silent server takes no thread from anybody else.
"""

import asyncio
import os
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.errors import ModelLoadTimeoutError


class Loads:
    """The models of this process. Each description is loaded once, until it fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loading: dict[ModelDescription, Future[Model]] = {}
        self._models: dict[ModelDescription, Model] = {}
        os.register_at_fork(after_in_child=self._after_fork)

    def get(self, spec: ModelDescription) -> Model | None:
        """Return a model that is loaded."""
        return self._models.get(spec)

    async def load(self, spec: ModelDescription, *, deadline_s: float | None = None) -> Model:
        """Return a model, loading it if nobody has; see `registry.load_model`."""
        known = self._models.get(spec)
        if known is not None:
            return known
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s) as waiting:
                return await _outcome(self._started(spec))
        except TimeoutError:
            if not waiting.expired():
                raise
            raise ModelLoadTimeoutError(
                f"{spec.label} was not loaded within the request's time ({left_s:.3g} s were left "
                "for it); allow more, or load it before the first request"
            ) from None

    def _started(self, spec: ModelDescription) -> Future[Model]:
        """Return the load under way, started now if there is none."""
        with self._lock:
            future = self._loading.get(spec)
            if future is None:
                future = self._loading[spec] = Future()
                if spec in self._models:
                    del self._loading[spec]
                    future.set_result(self._models[spec])
                else:
                    # A program that ends need not wait for a silent server.
                    threading.Thread(
                        target=self._run,
                        args=(spec, future),
                        name=f"splitreason-load-{spec.label}",
                        daemon=spec.on_server,
                    ).start()
            return future

    def _run(self, spec: ModelDescription, future: Future[Model]) -> None:
        try:
            model = spec.load()
        except BaseException as error:  # noqa: BLE001 - raised for everybody who waits
            with self._lock:
                del self._loading[spec]
            future.set_exception(error)
            return
        with self._lock:
            self._models[spec] = model
            del self._loading[spec]
        future.set_result(model)

    def _after_fork(self) -> None:
        """Forget loads whose threads do not exist in a child."""
        self._lock = threading.Lock()
        self._loading = {}


async def _outcome(future: Future[Model]) -> Model:
    """Wait in the running loop for what a thread will set; cancelling stops only the waiting."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Model]) -> None:
        # The loop of a caller that stopped waiting may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    await done.wait()
    return future.result()

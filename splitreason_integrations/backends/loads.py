"""Loaded models by description, and the loads under way: one for each, whoever waits for it.

Each load has a thread of its own, so that a silent server takes no thread from anybody else.
"""

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import nullcontext, suppress

from splitreason_integrations.backends.base import Closable, Model
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.errors import ModelInUseError, ModelLoadTimeoutError
from splitreason_integrations.processes.children import after_fork, no_fork


class _Load(Future[Model]):
    """A load under way.

    Attributes:
        spec: what is loaded.
        waiting: how many callers wait for it, or have not gone on since it ended.
        is_abandoned: whether the model is to be closed as soon as it is loaded.

    """

    def __init__(self, spec: ModelDescription) -> None:
        super().__init__()
        self.spec = spec
        self.waiting = 0
        self.is_abandoned = False


class Loads:
    """The models of this process, each loaded once until its load fails or it is released."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loading: dict[ModelDescription, _Load] = {}
        self._awaited: set[_Load] = set()
        self._models: dict[ModelDescription, Model] = {}
        self._holds: Counter[int] = Counter()
        after_fork(self._forget_requests)

    def get(self, spec: ModelDescription) -> Model | None:
        """Return a model that is loaded."""
        return self._models.get(spec)

    async def load(self, spec: ModelDescription, *, deadline_s: float | None = None) -> Model:
        """Return a model, loading it if nobody has; see `registry.load_model`."""
        known = self._models.get(spec)
        if known is not None:
            return known
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        load = self._joined(spec)
        try:
            async with asyncio.timeout(left_s) as waiting:
                await _done(load)
                return load.result()
        except TimeoutError:
            if not waiting.expired():
                raise
            raise ModelLoadTimeoutError(
                f"{spec.label} was not loaded within the request's time ({left_s:.3g} s were left "
                "for it); allow more, or load it before the first request"
            ) from None
        finally:
            with self._lock:
                load.waiting -= 1
                if not load.waiting:
                    self._awaited.discard(load)

    def hold(self, model: Model) -> None:
        """Note that a request uses a model, with a session or without: it is not released."""
        with self._lock:
            self._holds[id(model)] += 1

    def let_go(self, model: Model) -> None:
        """Note that a request which held a model has ended."""
        with self._lock:
            self._holds[id(model)] -= 1
            self._holds += Counter()  # drops those that are zero

    def release(self, specs: Collection[ModelDescription], models: Collection[Model]) -> None:
        """Close what is loaded of these, and forget it.

        Raises:
            ModelInUseError: if any of it is in use; nothing is closed then.

        """
        with self._lock:
            known = {spec: one for spec, one in self._models.items() if spec in specs}
            known |= {spec: one for spec, one in self._models.items() if one in models}
            loading = [load for spec, load in self._loading.items() if spec in specs]
            awaited = [load for load in self._awaited if load.spec in specs]
            closing = [*known.values(), *(one for one in models if one not in known.values())]
            if awaited:
                raise ModelInUseError(
                    "a request waits for a model that is being loaded; end it, then release"
                )
            self._check_idle(closing)
            for spec in known:
                del self._models[spec]
            for spec in [spec for spec, load in self._loading.items() if load in loading]:
                self._loading.pop(spec).is_abandoned = True
        for one in closing:
            _close(one)
        # Networks are full of cycles.
        gc.collect()

    def _joined(self, spec: ModelDescription) -> _Load:
        """Return the load under way, started now if there is none."""
        with self._lock:
            load = self._loading.get(spec)
            if load is None:
                load = _Load(spec)
                if spec in self._models:
                    load.set_result(self._models[spec])
                else:
                    self._loading[spec] = load
                    # A program that ends need not wait for a silent server.
                    threading.Thread(
                        target=self._run,
                        args=(spec, load),
                        name=f"splitreason-load-{spec.label}",
                        daemon=spec.on_server,
                    ).start()
            load.waiting += 1
            self._awaited.add(load)
            return load

    def _run(self, spec: ModelDescription, load: _Load) -> None:
        model, failure = None, None
        try:
            with nullcontext() if spec.on_server else no_fork():
                model = spec.load()
        except BaseException as error:  # noqa: BLE001 - raised for everybody who waits
            failure = error
        with self._lock:
            if self._loading.get(spec) is load:
                del self._loading[spec]
            if model is not None and not load.is_abandoned:
                self._models[spec] = model
        if failure is not None:
            load.set_exception(failure)
        elif model is not None and load.is_abandoned:
            _close(model)
            load.cancel()
        elif model is not None:
            load.set_result(model)

    def _check_idle(self, models: Collection[Model]) -> None:
        for one in models:
            if one.open_sessions:
                raise ModelInUseError(
                    f"{one.name} has {one.open_sessions} open sessions: wait for its requests, or "
                    "close their streams, then release it"
                )
            if self._holds[id(one)]:
                raise ModelInUseError(
                    f"requests still use {one.name}, {self._holds[id(one)]} of them: wait for "
                    "those, or close their streams, then release it"
                )

    def _forget_requests(self) -> None:
        """Forget the parent's requests in a child, and loads whose threads do not exist there."""
        self._lock = threading.Lock()
        self._loading, self._awaited, self._holds = {}, set(), Counter()


async def _done(load: _Load) -> None:
    """Wait in the running loop for what a thread will set; cancelling stops only the waiting."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Model]) -> None:
        # The loop of a caller that stopped waiting may be closed by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    load.add_done_callback(wake)
    await done.wait()


def _close(model: Model) -> None:
    if isinstance(model, Closable):
        model.close()

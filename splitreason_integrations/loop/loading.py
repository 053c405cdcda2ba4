"""Loads the models of one request: servers within its deadline, local weights outside it.

A server that does not answer must not keep a request waiting; the time that local weights take
at their first use is no part of the reply's time. Nor is the time in which a local model is asked
whether it was taught to mark spans.
"""

import asyncio
import logging
import time

from splitreason_integrations.backends.base import FindsOut, Model
from splitreason_integrations.backends.description import Role
from splitreason_integrations.backends.registry import (
    ModelSpec,
    hold,
    is_loaded,
    is_on_server,
    let_go,
    load_model,
)
from splitreason_integrations.backends.tag_probe import Probe, Teaching, probe, probe_large
from splitreason_integrations.errors import ModelCallError

_log = logging.getLogger(__name__)


class Loading:
    """Loads one request's models, which cannot be released until it is closed.

    Attributes:
        local_s: seconds that local models took at their first use so far.

    Args:
        started_s: when the request began or was resumed, by `time.monotonic()`.
        deadline_s: after how many seconds from then it has to end; None for no deadline.

    """

    def __init__(self, started_s: float, deadline_s: float | None) -> None:
        self._started_s = started_s
        self._deadline_s = deadline_s
        self.local_s = 0.0
        self._held: list[Model] = []

    @property
    def _ends_s(self) -> float | None:
        """When the request has to end, by `time.monotonic()`; None without a deadline."""
        if self._deadline_s is None:
            return None
        return self._started_s + self._deadline_s + self.local_s

    @property
    def half_of_time_left_s(self) -> float | None:
        """Half of the seconds until the request has to end; None without a deadline."""
        ends_s = self._ends_s
        return None if ends_s is None else max(0.0, (ends_s - time.monotonic()) / 2)

    async def small(self, spec: ModelSpec) -> Model:
        """Return the small model; raise ModelUnreachableError at the request's deadline."""
        return await self._load(spec, "small", self._ends_s)

    async def large(self, spec: ModelSpec, *, until_s: float | None = None) -> Model:
        """Return a large model.

        Raises ModelUnreachableError at `until_s`, by `time.monotonic()`; without one after half
        of the time that is left: the small model has to answer, too.
        """
        now_s, ends_s = time.monotonic(), self._ends_s
        if until_s is None and ends_s is not None:
            until_s = now_s + (ends_s - now_s) / 2
        return await self._load(spec, "large", until_s)

    async def small_teaching(self, model: Model) -> Teaching:
        """Return what a small model knows of the tags; all of them if its server fails now."""
        try:
            return await self._teaching(probe, model)
        except (ModelCallError, TimeoutError) as error:
            return _unasked(model, error, taught=True)

    async def large_teaching(self, model: Model) -> Teaching:
        """Return what a large model knows of the tags; nothing if it fails, however it does."""
        try:
            return await self._teaching(probe_large, model)
        except Exception as error:  # noqa: BLE001 - the first span shows whether it fails again
            return _unasked(model, error, taught=False)

    async def _teaching(self, probe: Probe, model: Model) -> Teaching:
        """Return what is known of a model; ask it where nothing is, for half of the time left."""
        known = probe.known(model)
        if known is not None:
            return known
        began_s, ends_s = time.monotonic(), self._ends_s
        left_s = (ends_s - began_s) / 2 if ends_s is not None and model.remote else None
        try:
            async with asyncio.timeout(left_s):
                return await probe(model)
        finally:
            if not model.remote:
                self.local_s += time.monotonic() - began_s

    async def find_out(self, model: Model, *, whole: bool = False) -> bool:
        """Learn what a model gives; return whether that is known now.

        `whole` says that it is to give a whole answer in its form.
        """
        if not isinstance(model, FindsOut):
            return True
        began_s, ends_s = time.monotonic(), self._ends_s
        try:
            async with asyncio.timeout(None if ends_s is None else (ends_s - began_s) / 2):
                await model.find_out(whole=whole)
        except (ModelCallError, TimeoutError) as error:
            _log.warning("%s could not be asked what it gives: %s", model.name, error)
            return False
        return True

    def close(self) -> None:
        """Let the models be released: the request uses them no more."""
        while self._held:
            let_go(self._held.pop())

    async def _load(self, spec: ModelSpec, role: Role, until_s: float | None) -> Model:
        model = await self._loaded(spec, role, until_s)
        hold(model)
        self._held.append(model)
        return model

    async def _loaded(self, spec: ModelSpec, role: Role, until_s: float | None) -> Model:
        if is_loaded(spec, role=role) or is_on_server(spec, role=role):
            return await load_model(spec, role=role, deadline_s=until_s)
        began_s = time.monotonic()
        try:
            return await load_model(spec, role=role)
        finally:
            self.local_s += time.monotonic() - began_s


def _unasked(model: Model, error: Exception, *, taught: bool) -> Teaching:
    """Return what is assumed of a model that could not be asked, and log why it could not."""
    reason = f"{type(error).__name__}: {error}"
    _log.warning("%s could not be asked whether it knows the tags: %s", model.name, reason)
    return Teaching(taught, taught, "it could not be asked")

"""Processes that answer, each with models of its own: for models on a machine's CPU cores.

Python holds one core a process however many requests are under way, so a process a core pays
where the models are small.
"""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ModelLoadError, RequestError, SplitReasonError
from splitreason_integrations.evals.answering import Asking, Outcome, answered
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.processes import deaf_to_interrupts, end_with_parent


class ProcessPool:
    """So many processes of one thread each, started at the first answer; leaving ends them."""

    def __init__(self, processes: int) -> None:
        self._pool = ProcessPoolExecutor(
            max_workers=processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def answered(self, engine: SplitEngine, task: Task, asking: Asking, seed: int) -> Outcome:
        """Return what came of one task, from whichever process is free."""
        with deaf_to_interrupts():  # the first job starts the processes
            job = self._pool.submit(_answer, engine, task, asking, seed)
        try:
            return await asyncio.wrap_future(job)
        except BrokenProcessPool as error:
            raise ModelLoadError(
                "a process that answers was ended, perhaps for want of memory: use fewer "
                "--processes"
            ) from error


def _begin() -> None:
    """Use one thread, and end with the parent, however it ends."""
    end_with_parent()
    if find_spec("torch") is None:  # models on servers
        return
    import torch

    torch.set_num_threads(1)


def _answer(engine: SplitEngine, task: Task, asking: Asking, seed: int) -> Outcome:
    try:
        blocking.run(engine.models)
        return blocking.run(lambda: answered(engine, task, asking, seed))
    except SplitReasonError as error:
        # Not every error can be sent to another process; its words can.
        raise RequestError(str(error)) from None

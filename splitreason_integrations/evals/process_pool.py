"""Pool of processes that answer tasks, each with its own models, for models on CPU cores.

Python uses one core per process however many requests are in progress, so with small models one
process per core is faster.
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
from splitreason_integrations.evals.answering import Asking, Outcome, answer_task
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.processes.children import deaf_to_interrupts, end_with_parent


class ProcessPool:
    """Single-threaded processes, started at the first answer and stopped on exit."""

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

    async def answer_task(
        self, engine: SplitEngine, task: Task, asking: Asking, seed: int
    ) -> Outcome:
        """Answer one task in whichever process is free."""
        with deaf_to_interrupts():  # the first job starts the processes
            job = self._pool.submit(_answer, engine, task, asking, seed)
        try:
            return await asyncio.wrap_future(job)
        except BrokenProcessPool as error:
            raise ModelLoadError(
                "a worker process was killed, perhaps because memory ran out: use fewer --processes"
            ) from error


def _begin() -> None:
    """Limit this process to one thread, and end it when its parent ends for whatever reason."""
    end_with_parent()
    if find_spec("torch") is None:  # models on servers
        return
    import torch

    torch.set_num_threads(1)


def _answer(engine: SplitEngine, task: Task, asking: Asking, seed: int) -> Outcome:
    try:
        blocking.run(engine.models)
        return blocking.run(lambda: answer_task(engine, task, asking, seed))
    except SplitReasonError as error:
        # Not every exception can be pickled, but its message can.
        raise RequestError(str(error)) from None

"""Finish rows in this process or in worker processes, keeping their order."""

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TypeAlias

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.annotation.finishing import Finish, Finisher, Tally
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.processes.children import deaf_to_interrupts, end_with_parent

Pairs: TypeAlias = Sequence[tuple[Row, Found]]
Finished: TypeAlias = list[tuple[Tally, bytes]]


class Finishers:
    """One finisher in this process, or one in each of `workers` processes."""

    def __init__(self, finish: Finish, *, workers: int) -> None:
        self._here = None if workers > 1 else Finisher(finish)
        self._pool = None
        if workers > 1:
            # A fork would copy locks that other threads of this process hold.
            self._pool = ProcessPoolExecutor(
                workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(finish,),
            )

    async def finish(self, pairs: Pairs) -> Finished:
        """Return the tallies and output lines of rows, in order."""
        if self._here is not None:
            return [self._here.finish(row, found) for row, found in pairs]
        assert self._pool is not None, "without a local finisher there is a pool"
        try:
            with deaf_to_interrupts():  # the first job starts the processes
                job = self._pool.submit(_finish, pairs)
            return await asyncio.wrap_future(job)
        except BrokenProcessPool as error:
            raise ConfigurationError(
                "a worker process died, perhaps because memory ran out: run the same command with "
                "--workers 1 to resume"
            ) from error

    def __enter__(self) -> "Finishers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


_worker: list[Finisher] = []


def _begin(finish: Finish) -> None:
    end_with_parent()
    _worker[:] = [Finisher(finish)]


def _finish(pairs: Pairs) -> Finished:
    return [_worker[0].finish(row, found) for row, found in pairs]

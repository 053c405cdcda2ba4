"""Process many items with bounded concurrency: the one loop of evaluations, loads and plans."""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import anyio

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the work went.

    Attributes:
        seconds: Wall time of all work.
        per_s: Items per second while all workers were busy: the sum of each worker's own rate up to
            its last item, so that the idle end does not count.

    """

    seconds: float
    per_s: float


async def at_once(
    work: Callable[[_T], Awaitable[None]], items: Iterable[_T], concurrency: int
) -> Pace:
    """Process all items, with up to `concurrency` in progress at a time.

    The first failure cancels all workers and is raised unchanged.
    """
    waiting, rates = iter(items), list[float]()

    async def worker() -> None:
        started_s = ended_s = time.perf_counter()
        done = 0
        for item in waiting:
            await work(item)
            done, ended_s = done + 1, time.perf_counter()
        if done:
            rates.append(done / (ended_s - started_s))

    started_s = time.perf_counter()
    try:
        async with anyio.create_task_group() as workers:
            for _ in range(concurrency):
                workers.start_soon(worker)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return Pace(time.perf_counter() - started_s, sum(rates))

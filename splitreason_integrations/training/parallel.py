"""Run the jobs of a stage one after the other, or in parallel processes."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from splitreason_integrations.training.pair import Job, OnProgress

Progress = tuple[str, int, int, float]
"""Arguments of `OnProgress`, sent from a child to the parent."""


def one_by_one(jobs: list[Job], on_progress: OnProgress) -> None:
    """Run one job after the other in this process."""
    for job in jobs:
        job(on_progress)


def in_parallel(jobs: list[Job], on_progress: OnProgress) -> None:
    """Run the jobs in processes that share the CPU cores.

    Raises:
        RuntimeError: A process failed. The others are stopped; all of them can be resumed.

    """
    context = multiprocessing.get_context("spawn")
    updates: Queue[Progress] = context.Queue()
    threads = max(1, (os.cpu_count() or 2) // len(jobs))
    workers = [context.Process(target=_work, args=(job, threads, updates)) for job in jobs]
    for worker in workers:
        worker.start()
    try:
        _follow(workers, updates, on_progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(job: Job, threads: int, updates: Queue[Progress]) -> None:
    import torch

    torch.set_num_threads(threads)
    job(lambda *item: updates.put(item))


def _follow(workers: list[Any], updates: Queue[Progress], on_progress: OnProgress) -> None:
    while True:
        running = any(worker.is_alive() for worker in workers)
        if any(worker.exitcode for worker in workers):
            raise RuntimeError("training stopped with an error; run the command again to resume")
        try:
            while True:
                on_progress(*updates.get(timeout=0.2))
        except Empty:
            if not running:
                return

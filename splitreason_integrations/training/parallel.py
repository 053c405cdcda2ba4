"""The jobs of a stage one after the other, or at once with progress in the parent."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from splitreason_integrations.training.pair import Job, Tell

News = tuple[str, int, int, float]


def in_turn(jobs: list[Job], tell: Tell) -> None:
    """Carry out one job after the other in this process."""
    for job in jobs:
        job(tell)


def at_once(jobs: list[Job], tell: Tell) -> None:
    """Carry out the jobs in processes of their own, the cores shared between them.

    Raises:
        RuntimeError: if one of the processes fails; the others are stopped, all can be resumed.

    """
    context = multiprocessing.get_context("spawn")
    news: Queue[News] = context.Queue()
    threads = max(1, (os.cpu_count() or 2) // len(jobs))
    workers = [context.Process(target=_work, args=(job, threads, news)) for job in jobs]
    for worker in workers:
        worker.start()
    try:
        _follow(workers, news, tell)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(job: Job, threads: int, news: Queue[News]) -> None:
    import torch

    torch.set_num_threads(threads)
    job(lambda *item: news.put(item))


def _follow(workers: list[Any], news: Queue[News], tell: Tell) -> None:
    while True:
        running = any(worker.is_alive() for worker in workers)
        if any(worker.exitcode for worker in workers):
            raise RuntimeError("training stopped with an error; run the command again to resume")
        try:
            while True:
                tell(*news.get(timeout=0.2))
        except Empty:
            if not running:
                return

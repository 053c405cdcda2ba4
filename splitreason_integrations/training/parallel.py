"""Pre-training of both models at once, one process each, with progress in the parent."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from splitreason_integrations.training.architecture import Role
from splitreason_integrations.training.pair import ROLES, Tell, pretrain_role
from splitreason_integrations.training.run import Folders, Settings

News = tuple[str, int, int, float]


def pretrain_in_turn(folders: Folders, settings: Settings, device: str, tell: Tell) -> None:
    """Pre-train one model after the other in this process."""
    for role in ROLES:
        pretrain_role(role, folders, settings, device, tell)


def pretrain_at_once(folders: Folders, settings: Settings, device: str, tell: Tell) -> None:
    """Pre-train both models in processes of their own, the cores shared between them.

    Raises:
        RuntimeError: if one of the processes fails; the other is stopped, both can be resumed.

    """
    context = multiprocessing.get_context("spawn")
    news: Queue[News] = context.Queue()
    threads = max(1, (os.cpu_count() or 2) // len(ROLES))
    workers = [
        context.Process(target=_work, args=(role, folders, settings, device, threads, news))
        for role in ROLES
    ]
    for worker in workers:
        worker.start()
    try:
        _follow(workers, news, tell)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(
    role: Role, folders: Folders, settings: Settings, device: str, threads: int, news: Queue[News]
) -> None:
    import torch

    torch.set_num_threads(threads)
    pretrain_role(role, folders, settings, device, lambda *item: news.put(item))


def _follow(workers: list[Any], news: Queue[News], tell: Tell) -> None:
    while True:
        running = any(worker.is_alive() for worker in workers)
        if any(worker.exitcode for worker in workers):
            raise RuntimeError(
                "pre-training stopped with an error; run the command again to resume"
            )
        try:
            while True:
                tell(*news.get(timeout=0.2))
        except Empty:
            if not running:
                return

"""A thread that does one model's work, first come, first served."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from splitreason_integrations.processes.children import after_fork

_T = TypeVar("_T")


class Worker:
    """Runs work on one thread, and knows whether more is waiting.

    A forked child has a new thread, and none of the work that waited in its parent.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()
        after_fork(self._begin)

    def _begin(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def wanted(self) -> bool:
        """Whether work is waiting for the thread."""
        return self._waiting > 0

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Queue work; cancelling it before it starts takes it out of the queue."""

        def counted() -> _T:
            self._count(-1)
            return work()

        self._count(1)
        job = self._thread.submit(counted)
        job.add_done_callback(self._forget_cancelled)
        return job

    def _forget_cancelled(self, job: Future[_T]) -> None:
        if job.cancelled():
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change

"""What processes mean to this package: Ctrl-C and orphans of child processes, and forks.

A forked child has none of its parent's threads, and may have a copy of a lock that one of them
held. Everything that belongs to one process is registered here and made anew in a forked child.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import MethodType
from typing import Any, Generic, TypeVar
from weakref import ReferenceType, ref

_T = TypeVar("_T")

_POLL_S = 0.05


@contextmanager
def deaf_to_interrupts() -> Generator[None]:
    """Keep Ctrl-C from processes that are spawned in this block: their parent ends them.

    The signal is blocked before they start: Python answers it with a traceback from its first
    moment on.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process, which multiprocessing started, as soon as its parent has ended.

    The end of a pipe reports it, also for a parent that ended before this was called.
    """

    def watch() -> None:
        while (parent := multiprocessing.parent_process()) is None:  # unset at the very start
            time.sleep(_POLL_S)
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="splitreason-parent", daemon=True).start()


_callbacks: dict[int, tuple[ReferenceType[Any], Callable[[Any], None]]] = {}
"""What to call after a fork: a method and a reference to its object, by the reference's id."""


def after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in every process that is forked from this one, before `os.fork` returns.

    This does not keep its object alive. Only the forking thread exists then: the method must not
    wait for a lock or a thread.
    """
    assert isinstance(method, MethodType)
    known = _callbacks  # still there while the interpreter ends, when the module's names are not
    reference = ref(method.__self__, lambda gone: known.pop(id(gone), None))
    known[id(reference)] = (reference, method.__func__)


class PerProcess(Generic[_T]):
    """A value that every process makes for itself, such as a lock, a thread or a connection.

    A forked child drops its copy of the parent's value and makes a new one. It must not matter
    if the dropped copy is garbage-collected.

    Attributes:
        value: This process's value.

    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self.value = make()
        after_fork(self._make_anew)

    def _make_anew(self) -> None:
        self.value = self._make()


class _ForkGate:
    """Lets a fork wait until no other thread is inside a `no_fork` block."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = Counter[int]()

    def enter(self) -> None:
        with self._changed:
            self._inside[threading.get_ident()] += 1

    def leave(self) -> None:
        with self._changed:
            self._inside[threading.get_ident()] -= 1
            self._inside += Counter()  # drops those that are zero
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread is inside, and let none enter until `open`."""
        self._changed.acquire()
        while self._inside.keys() - {threading.get_ident()}:
            self._changed.wait()

    def open(self) -> None:
        self._changed.release()


_gate = _ForkGate()


@contextmanager
def no_fork() -> Generator[None]:
    """Have forks by other threads wait until this block is left.

    For work that leaves process-wide state of a library half changed, which a child would inherit
    for good: weights that are being loaded, a database that SQLite holds locked.
    """
    gate = _gate
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


def _before_fork() -> None:
    _gate.close()


def _after_fork_in_parent() -> None:
    _gate.open()


def _after_fork_in_child() -> None:
    global _gate
    _gate = _ForkGate()
    for reference, function in list(_callbacks.values()):
        if (owner := reference()) is not None:
            function(owner)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

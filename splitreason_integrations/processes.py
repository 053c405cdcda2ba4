"""Processes that work for this one. Ctrl-C goes to all of a terminal; this one alone is to hear."""

import signal
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def deaf_to_interrupts() -> Generator[None]:
    """Have processes that are spawned meanwhile never hear Ctrl-C: their parent ends them.

    They do not from their first moment on, in which Python would still answer with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

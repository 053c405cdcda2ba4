"""Processes that work for this one: it alone hears Ctrl-C, and they end when it does."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

_LOOK_S = 0.05


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


def end_with_parent() -> None:
    """End this process, which multiprocessing started, once its parent is gone, however it went.

    The end of a pipe says so, which also tells of a parent that went before this was called.
    """

    def look() -> None:
        while (parent := multiprocessing.parent_process()) is None:  # not from the first moment
            time.sleep(_LOOK_S)
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="splitreason-parent", daemon=True).start()

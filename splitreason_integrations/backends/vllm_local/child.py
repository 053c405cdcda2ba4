"""What an engine's process runs first: it ends with its parent, and alone hears of no Ctrl-C.

vLLM's engine outlives a parent that was killed. Its own workers do end with it.
"""

import os
import signal
import threading
import time

_LOOK_S = 0.5


def end_with_parent() -> None:
    """End this process once the one that started it is gone."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="splitreason-parent", daemon=True).start()


if __name__ == "__mp_main__":
    # A terminal's Ctrl-C goes to a whole group; the parent says when the engine is to end.
    os.setpgid(0, 0)
    end_with_parent()

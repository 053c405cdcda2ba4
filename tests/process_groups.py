"""Groups of processes that tests start, and must not leave behind."""

import os
import signal
import time

from tests.limits import END_S


def ends(group: int, *, within_s: float = END_S) -> bool:
    """Whether all processes of the group end by themselves; the rest are killed."""
    late_s = time.monotonic() + within_s
    while time.monotonic() < late_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False

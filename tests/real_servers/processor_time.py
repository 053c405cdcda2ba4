"""The processor time of a server: it grows while the server works on something."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE_S = 0.3


def used_s(group: int) -> float:
    """Return the processor time of a group's processes in seconds."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


async def used_until_idle_s(group: int) -> float:
    """Return that time once it grows no more."""
    before, now = -1.0, used_s(group)
    while now - before > 0.1 * _IDLE_S:
        await asyncio.sleep(_IDLE_S)
        before, now = now, used_s(group)
    return now

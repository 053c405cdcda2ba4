"""One model reads along while the other one writes, and finds where the writing has to end.

The small model so ends the large model's spans, and the large one finds where a span opens. The
writer writes on while a chunk is being read; what it wrote behind the end is dropped.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

from splitreason_integrations.backends.base import Written
from splitreason_integrations.loop.pace import Pace
from splitreason_integrations.loop.writing import Checked, EndedBy, TimedWriting, Writing


class Reader(Protocol):
    """What reads along."""

    async def read(
        self, chunk: Sequence[int], ended_by: str | None, *, is_last: bool
    ) -> tuple[int, str | None]:
        """Read a chunk; return how many of its tokens are kept, and what ended the writing.

        Where nothing ended it and not all are kept, the others come again with the next chunk. Of
        the last chunk all are kept, unless the reader ends the writing within it.
        """
        ...


class ReadAlong(Writing):
    """One writing of a model, read by the other one a chunk at a time.

    What the reader fails with is raised.
    """

    def __init__(
        self, writing: TimedWriting, reader: Reader, pace: Pace, ended_by: EndedBy
    ) -> None:
        super().__init__(writing, ended_by)
        self._reader = reader
        self._pace = pace
        self._chunk: tuple[int, ...] = ()
        self._undecided = 0
        self._pull: asyncio.Task[Written | None] | None = None
        self._read: asyncio.Task[tuple[int, str | None]] | None = None
        self._read_began_s = 0.0

    async def next(self) -> Checked | None:
        """Return the next tokens to keep, up to where either model ends the writing; None after."""
        while not (self._is_written or self._is_over):
            self._read_if_due()
            if self._read is None or self._pace.writes_on(self._new):
                self._pull = self._pull or asyncio.ensure_future(self._writing.next())
            if self._pull is None or not self._pull.done():
                await self._wait()
                if self._read is not None and self._read.done():
                    return await self._finish_read()
            if self._pull is not None and self._pull.done():
                await self._receive(self._pull)
                self._pull = None
        if self._is_over:
            return None
        if self._read is not None:
            return await self._finish_read()
        self._is_over = True
        return await self._read_rest()

    async def aclose(self) -> None:
        """Stop the writer and what is being read, and wait until both have stopped."""
        jobs = self._jobs
        for job in jobs:
            job.cancel()
        # Gathered, so that no job's failure goes unnoticed by asyncio.
        await asyncio.gather(*jobs, return_exceptions=True)
        await self._writing.aclose()

    @property
    def _new(self) -> int:
        """How many tokens were in no chunk yet."""
        return len(self._unread) - self._undecided

    def _read_if_due(self) -> None:
        if self._read is None and self._pace.is_due(self._new):
            self._chunk, self._undecided = self._take_unread(), 0
            self._read_began_s = time.monotonic()
            reading = self._reader.read(self._chunk, None, is_last=False)
            self._read = asyncio.ensure_future(reading)

    async def _wait(self) -> None:
        """Wait for the writer's next tokens, or for the end of the chunk being read."""
        await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)

    @property
    def _jobs(self) -> list[asyncio.Task[Any]]:
        return [job for job in (self._pull, self._read) if job is not None]

    async def _finish_read(self) -> Checked:
        """Wait for the chunk being read; return what of it is kept."""
        assert self._read is not None, "a chunk is being read"
        kept, closed_by = await self._read
        self._read = None
        self._is_over = closed_by is not None
        self._pace.note(self._read_began_s)
        if closed_by is None:
            self._unread[:0] = self._chunk[kept:]
            self._undecided = len(self._chunk) - kept
        return self._checked(self._chunk[:kept], closed_by)

    async def _read_rest(self) -> Checked:
        """Read what is left, after which the writer may have ended by itself."""
        rest, ended_by = self._take_unread(), self._ended_by(self._last)
        kept, closed_by = await self._reader.read(rest, ended_by, is_last=True)
        return self._checked(rest[:kept], closed_by)

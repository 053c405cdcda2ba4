"""The small model reads along while the large one writes, and finds where the span ends.

The large model writes on while a chunk is being read; where the small model finds the end, what
was written after it is dropped.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import anyio

from splitreason_integrations.backends.base import Written
from splitreason_integrations.errors import ModelStalledError
from splitreason_integrations.loop.handback import Handback

_TIMES_ITS_LENGTH = 20
"""A chunk is read when so many times the last chunk's seconds have passed since that one began.

So reading along takes a twentieth of a span's time: where the small model is busy, or the large
one fast, chunks become fewer and longer.
"""

GRACE_S = 0.25
"""How long after its deadline a model may take to say that it has ended."""

EndedBy = Callable[[Written], str | None]
"""Returns how the large model ended the span by itself; None where it did not."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Tokens of the large model that are kept, and what ended the span after them, if it ended."""

    token_ids: tuple[int, ...] = ()
    closed_by: str | None = None


class TimedWriting:
    """A large model's writing that fails where no token comes in time.

    Args:
        writing: what its session writes.
        model: the name to give in errors.
        stall_s: how long one token may take; None for ever.
        until_s: when the writing has to end, by `time.monotonic()`; None for no deadline.

    """

    def __init__(
        self,
        writing: AsyncGenerator[Written, None],
        *,
        model: str,
        stall_s: float | None,
        until_s: float | None,
    ) -> None:
        self._writing = writing
        self._model = model
        self._stall_s = stall_s
        self._until_s = until_s

    async def next(self) -> Written | None:
        """Return the next tokens, None at the end; raise ModelStalledError where none come."""
        # A model that is merely slow ends by itself at its deadline, as does one whose reader was
        # slow.
        left = None if self._until_s is None else self._until_s - time.monotonic()
        grace = None if left is None else max(0.0, left) + GRACE_S
        limit = min((s for s in (self._stall_s, grace) if s is not None), default=None)
        with anyio.move_on_after(limit) as scope:
            written = await anext(self._writing, None)
        if scope.cancelled_caught:
            raise ModelStalledError(f"{self._model} gave no token for {limit:.1f} s")
        return written

    async def aclose(self) -> None:
        """Stop the model."""
        await self._writing.aclose()


class ReadAlong:
    """One writing of a large model, read by the small one in chunks of `chunk_tokens`.

    Without a `handback` nobody reads along, and all tokens are kept as they come. `surplus` counts
    received tokens that are not kept, `failure` is what the large model failed with after them.
    """

    def __init__(
        self,
        writing: TimedWriting,
        handback: Handback | None,
        chunk_tokens: int,
        ended_by: EndedBy,
    ) -> None:
        self._writing = writing
        self._handback = handback
        self._chunk_tokens = chunk_tokens
        self._ended_by = ended_by
        self._unread: list[int] = []
        self._chunk: tuple[int, ...] = ()
        self._pull: asyncio.Task[Written | None] | None = None
        self._read: asyncio.Task[tuple[int, str | None]] | None = None
        self._read_began_s = self._read_due_s = 0.0
        self._last = Written(())
        self._is_written = self._is_over = False
        self.surplus = 0
        self.failure: Exception | None = None

    async def next(self) -> Checked | None:
        """Return the next tokens to keep, up to where either model ends the span; None after."""
        while not (self._is_written or self._is_over):
            self._pull = self._pull or asyncio.ensure_future(self._writing.next())
            if not self._pull.done():
                await self._wait(self._pull)
                if self._read is not None and self._read.done():
                    return await self._finish_read()
            if self._pull.done():
                self._receive(self._pull)
                self._pull = None
                if self._handback is None and self._unread:
                    return self._checked(self._take_unread(), None)
        if self._is_over:
            return None
        if self._read is not None:
            return await self._finish_read()
        self._is_over = True
        return await self._read_rest()

    async def aclose(self) -> None:
        """Stop the large model and what is being read, and wait until both have stopped."""
        jobs: list[asyncio.Task[Any]] = [job for job in (self._pull, self._read) if job is not None]
        for job in jobs:
            job.cancel()
        # Gathered, so that no job's failure goes unnoticed by asyncio.
        await asyncio.gather(*jobs, return_exceptions=True)
        await self._writing.aclose()

    async def _wait(self, pull: asyncio.Task[Written | None]) -> None:
        """Wait for the large model's next tokens, or for the end of the chunk being read."""
        due = len(self._unread) >= self._chunk_tokens and time.monotonic() >= self._read_due_s
        if self._read is None and self._handback is not None and due:
            self._chunk, self._read_began_s = self._take_unread(), time.monotonic()
            self._read = asyncio.ensure_future(self._handback.read(self._chunk, None))
        jobs = [pull] if self._read is None else [pull, self._read]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)

    def _receive(self, pull: asyncio.Task[Written | None]) -> None:
        try:
            written = pull.result()
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            self.failure, self._is_written = error, True
            return
        if written is None:
            self._is_written = True
            return
        self._last = written
        self._unread += written.token_ids
        self.surplus += len(written.token_ids)

    def _take_unread(self) -> tuple[int, ...]:
        taken, self._unread = tuple(self._unread), []
        return taken

    async def _finish_read(self) -> Checked:
        """Wait for the chunk being read; return what of it is kept."""
        assert self._read is not None, "a chunk is being read"
        kept, closed_by = await self._read
        self._read = None
        self._is_over = closed_by is not None
        seconds = time.monotonic() - self._read_began_s
        self._read_due_s = self._read_began_s + _TIMES_ITS_LENGTH * seconds
        return self._checked(self._chunk[:kept], closed_by)

    async def _read_rest(self) -> Checked:
        """Read what is left, after which the large model may have ended the span."""
        rest, ended_by = self._take_unread(), self._ended_by(self._last)
        if self._handback is None:
            return self._checked(rest, ended_by)
        kept, closed_by = await self._handback.read(rest, ended_by)
        return self._checked(rest[:kept], closed_by)

    def _checked(self, token_ids: tuple[int, ...], closed_by: str | None) -> Checked:
        self.surplus -= len(token_ids)
        return Checked(token_ids, closed_by)

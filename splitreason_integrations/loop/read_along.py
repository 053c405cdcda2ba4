"""One model reads along while the other one writes, and finds where the writing has to end.

The small model so ends the large model's spans, and the large one finds where a span opens. The
writer writes on while a chunk is being read; what it wrote behind the end is dropped.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from splitreason_integrations.backends.base import Written
from splitreason_integrations.errors import ModelStalledError

_TIMES_ITS_LENGTH = 20
"""A chunk is read when so many times the last chunk's seconds have passed since that one began.

So reading along takes a twentieth of a span's time: where the small model is busy, or the large
one fast, chunks become fewer and longer.
"""

_TOKENS_BETWEEN_OPENINGS = 20
"""About how many tokens an untaught small model writes between two places where a span opens."""
_LONGEST_CHUNK = 64

GRACE_S = 0.25
"""How long after its deadline a model may take to say that it has ended."""

EndedBy = Callable[[Written], str | None]
"""Returns how the writer ended by itself; None where it did not."""


class Reader(Protocol):
    """What reads along."""

    async def read(self, chunk: Sequence[int], ended_by: str | None) -> tuple[int, str | None]:
        """Read a chunk; return how many of its tokens are kept, and what ended the writing.

        Where nothing ended it and not all are kept, the others come again with the next chunk.
        """
        ...


class Pace(Protocol):
    """Says when the next chunk is read."""

    def is_due(self, unread: int) -> bool:
        """Return whether so many unread tokens are to be read now."""
        ...

    def writes_on(self, unread: int) -> bool:
        """Return whether the writer goes on beside a reading, with so many tokens unread."""
        ...

    def note(self, began_s: float) -> None:
        """Note that the reading of a chunk which began then, by `time.monotonic()`, has ended."""
        ...


class SparingPace:
    """For a reader beside a slower writer: reading takes a small share of the time."""

    def __init__(self, chunk_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens
        self._due_s = 0.0

    def is_due(self, unread: int) -> bool:
        """Return whether enough is unread and the last reading is long enough ago."""
        return unread >= self._chunk_tokens and time.monotonic() >= self._due_s

    def writes_on(self, unread: int) -> bool:
        """Return True: a large model that waits costs more than tokens that are dropped."""
        return True

    def note(self, began_s: float) -> None:
        """Put the next reading off by a multiple of the last one's time."""
        self._due_s = began_s + _TIMES_ITS_LENGTH * (time.monotonic() - began_s)


class BalancedPace:
    """For a reader beside a faster writer: what is read in vain costs as much as reading often.

    With passes of p seconds, steps of s, and a span every r tokens, chunks of n tokens cost p / n
    a token for reading, and s n / 2 for each span, whose tokens behind its opening are dropped.
    The sum is least at n = sqrt(2 r p / s).
    """

    def __init__(self, chunk_tokens: int) -> None:
        self._least = chunk_tokens
        self._step_s: float | None = None
        self._pass_s: float | None = None

    def is_due(self, unread: int) -> bool:
        """Return whether the chunk is as long as pays."""
        return unread >= self.chunk_tokens

    def writes_on(self, unread: int) -> bool:
        """Return whether less than the next chunk is written."""
        return unread < self.chunk_tokens

    def note(self, began_s: float) -> None:
        """Measure a pass."""
        self._pass_s = _mean(self._pass_s, time.monotonic() - began_s)

    def note_steps(self, seconds: float, tokens: int) -> None:
        """Measure the writer's steps."""
        if tokens:
            self._step_s = _mean(self._step_s, seconds / tokens)

    @property
    def chunk_tokens(self) -> int:
        """How many tokens are read at a time."""
        if not self._step_s or self._pass_s is None:
            return self._least
        best = math.sqrt(2 * _TOKENS_BETWEEN_OPENINGS * self._pass_s / self._step_s)
        return max(self._least, min(_LONGEST_CHUNK, round(best)))


def _mean(before: float | None, new: float) -> float:
    return new if before is None else (3 * before + new) / 4


@dataclass(frozen=True, slots=True)
class Checked:
    """Tokens of the writer that are kept, and what ended the writing after them, if it ended."""

    token_ids: tuple[int, ...] = ()
    closed_by: str | None = None


class TimedWriting:
    """A model's writing that fails where no token comes in time.

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
    """One writing of a model, read by the other one a chunk at a time.

    Without a `reader` nobody reads along, and all tokens are kept as they come. `surplus` counts
    received tokens that are not kept, `failure` is what the writer failed with after them. What the
    reader fails with is raised.
    """

    def __init__(
        self, writing: TimedWriting, reader: Reader | None, pace: Pace, ended_by: EndedBy
    ) -> None:
        self._writing = writing
        self._reader = reader
        self._pace = pace
        self._ended_by = ended_by
        self._unread: list[int] = []
        self._chunk: tuple[int, ...] = ()
        self._pull: asyncio.Task[Written | None] | None = None
        self._read: asyncio.Task[tuple[int, str | None]] | None = None
        self._read_began_s = 0.0
        self._last = Written(())
        self._is_written = self._is_over = False
        self.surplus = 0
        self.failure: Exception | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the writer has ended by itself."""
        return self._last.end is not None

    async def next(self) -> Checked | None:
        """Return the next tokens to keep, up to where either model ends the writing; None after."""
        while not (self._is_written or self._is_over):
            if self._read is None or self._pace.writes_on(len(self._unread)):
                self._pull = self._pull or asyncio.ensure_future(self._writing.next())
            if self._pull is None or not self._pull.done():
                await self._wait(self._pull)
                if self._read is not None and self._read.done():
                    return await self._finish_read()
            if self._pull is not None and self._pull.done():
                self._receive(self._pull)
                self._pull = None
                if self._reader is None and self._unread:
                    return self._checked(self._take_unread(), None)
        if self._is_over:
            return None
        if self._read is not None:
            return await self._finish_read()
        self._is_over = True
        return await self._read_rest()

    async def aclose(self) -> None:
        """Stop the writer and what is being read, and wait until both have stopped."""
        jobs: list[asyncio.Task[Any]] = [job for job in (self._pull, self._read) if job is not None]
        for job in jobs:
            job.cancel()
        # Gathered, so that no job's failure goes unnoticed by asyncio.
        await asyncio.gather(*jobs, return_exceptions=True)
        await self._writing.aclose()

    async def _wait(self, pull: asyncio.Task[Written | None] | None) -> None:
        """Wait for the writer's next tokens, or for the end of the chunk being read."""
        due = self._read is None and self._pace.is_due(len(self._unread))
        if self._reader is not None and due:
            self._chunk, self._read_began_s = self._take_unread(), time.monotonic()
            self._read = asyncio.ensure_future(self._reader.read(self._chunk, None))
        jobs: list[asyncio.Task[Any]] = [job for job in (pull, self._read) if job is not None]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)

    def _receive(self, pull: asyncio.Task[Written | None]) -> None:
        try:
            written = pull.result()
        except Exception as error:  # noqa: BLE001 - any failure of a writer is survived
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
        self._pace.note(self._read_began_s)
        if closed_by is None:
            self._unread[:0] = self._chunk[kept:]
        return self._checked(self._chunk[:kept], closed_by)

    async def _read_rest(self) -> Checked:
        """Read what is left, after which the writer may have ended by itself."""
        rest, ended_by = self._take_unread(), self._ended_by(self._last)
        if self._reader is None:
            return self._checked(rest, ended_by)
        kept, closed_by = await self._reader.read(rest, ended_by)
        return self._checked(rest[:kept], closed_by)

    def _checked(self, token_ids: tuple[int, ...], closed_by: str | None) -> Checked:
        self.surplus -= len(token_ids)
        return Checked(token_ids, closed_by)

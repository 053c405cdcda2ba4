"""The small model reads along while the large one writes, and says where the span ends.

The large model writes on while a reading is under way; where the small one finds the end, what
was written behind it was never said.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.backends.base import Written
from splitreason_integrations.loop.handback import Handback

_TIMES_ITS_LENGTH = 20
"""A reading begins when so many times the last one's length have passed since that one began.

So reading along takes a twentieth of a span's time: where the small model is busy, or the large
one fast, the readings become fewer and longer.
"""

EndedBy = Callable[[Written], str | None]
"""Says how a span ended, where the large model has ended it by itself."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Tokens of the large model that stand, and how the span ends behind them, if it does."""

    token_ids: tuple[int, ...] = ()
    closed_by: str | None = None


class ReadAlong:
    """One stretch of a large model's writing, read by the small one in chunks of so many tokens.

    Without a `handback` nobody reads along, and all stands as it comes. `surplus`
    counts received tokens that do not stand, `failure` is what the large model failed with behind
    all of them.
    """

    def __init__(self, handback: Handback | None, chunk_tokens: int) -> None:
        self._handback = handback
        self._chunk_tokens = chunk_tokens
        self._unread: list[int] = []
        self._at_work: tuple[int, ...] = ()
        self._job: asyncio.Task[tuple[int, str | None]] | None = None
        self._began_s = self._due_s = 0.0
        self.surplus = 0
        self.failure: Exception | None = None

    async def follow(
        self, writing: AsyncGenerator[Written, None], ended_by: EndedBy
    ) -> AsyncGenerator[Checked, None]:
        """Yield what stands of the writing, up to where either model ends the span."""
        pull: asyncio.Task[Written | None] | None = None
        try:
            written: Written | None = Written(())
            last = Written(())
            while written is not None:
                pull = pull or asyncio.ensure_future(anext(writing, None))
                await self._either(pull)
                if self._job is not None and self._job.done():
                    checked = await self._finished()
                    yield checked
                    if checked.closed_by:
                        return
                if pull.done():
                    written, pull = self._received(pull), None
                    last = written or last
                    if self._handback is None:
                        yield self._checked(self._taken(), None)
            if self._job is not None:
                checked = await self._finished()
                yield checked
                if checked.closed_by:
                    return
            yield await self._rest(ended_by(last))
        finally:
            await _dropped(pull, self._job)

    async def _either(self, pull: asyncio.Task[Written | None]) -> None:
        """Wait for the large model's next tokens, or for the end of the reading under way."""
        due = len(self._unread) >= self._chunk_tokens and time.monotonic() >= self._due_s
        if self._job is None and self._handback is not None and due:
            self._at_work, self._began_s = self._taken(), time.monotonic()
            self._job = asyncio.ensure_future(self._handback.read(self._at_work, None))
        jobs = [pull] if self._job is None else [pull, self._job]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)

    def _received(self, pull: asyncio.Task[Written | None]) -> Written | None:
        try:
            written = pull.result()
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            self.failure = error
            return None
        if written is not None:
            self._unread += written.token_ids
            self.surplus += len(written.token_ids)
        return written

    def _taken(self) -> tuple[int, ...]:
        taken, self._unread = tuple(self._unread), []
        return taken

    async def _finished(self) -> Checked:
        """Return what the reading under way has found; wait for it."""
        assert self._job is not None, "a reading is under way"
        job = self._job
        kept, closed_by = await job
        self._job = None
        self._due_s = self._began_s + _TIMES_ITS_LENGTH * (time.monotonic() - self._began_s)
        return self._checked(self._at_work[:kept], closed_by)

    async def _rest(self, ended_by: str | None) -> Checked:
        """Read what is left, which `ended_by` may say is the end of the span."""
        rest = self._taken()
        if self._handback is None:
            return self._checked(rest, ended_by)
        kept, closed_by = await self._handback.read(rest, ended_by)
        return self._checked(rest[:kept], closed_by)

    def _checked(self, token_ids: tuple[int, ...], closed_by: str | None) -> Checked:
        self.surplus -= len(token_ids)
        return Checked(token_ids, closed_by)


async def _dropped(*jobs: asyncio.Task[Any] | None) -> None:
    """End what is still under way, and wait until nothing is left of it."""
    given = [job for job in jobs if job is not None]
    for job in given:
        job.cancel()
    # Gathered, so that no job's failure is left unlooked at.
    await asyncio.gather(*given, return_exceptions=True)

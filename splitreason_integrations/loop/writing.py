"""What a model writes, as a request takes it: within its time, and up to where it ended."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import anyio

from splitreason_integrations.backends.base import End, Session, WriteOrder, Written
from splitreason_integrations.errors import ModelStalledError

GRACE_S = 0.25
"""How long after its deadline a model may take to say that it has ended."""

EndedBy = Callable[[Written], str | None]
"""Returns how the writer ended by itself; None where it did not."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Tokens of the writer that are kept, and what ended the writing after them, if it ended."""

    token_ids: tuple[int, ...] = ()
    closed_by: str | None = None


async def in_chunks(
    session: Session, order: WriteOrder, chunk_tokens: Callable[[], int]
) -> AsyncGenerator[Written, None]:
    """Yield what a session writes for an order, which it is asked for in chunks.

    A model that resumes at no cost so writes nothing that is not asked for.

    Args:
        session: the model's session.
        order: what is to be written, in all.
        chunk_tokens: returns how many tokens to ask for next.

    """
    left, end = order.max_tokens, None
    while end is None:
        most = before = min(left, chunk_tokens())
        async with aclosing(session.write(replace(order, max_tokens=most))) as writing:
            async for written in writing:
                left, most = left - len(written.token_ids), most - len(written.token_ids)
                goes_on = written.end is End.LENGTH and left > 0 and most == 0 < before
                end = None if goes_on else written.end
                yield replace(written, end=end)


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
        if limit is None:
            return await anext(self._writing, None)
        with anyio.move_on_after(limit) as scope:
            written = await anext(self._writing, None)
        if scope.cancelled_caught:
            raise ModelStalledError(f"{self._model} gave no token for {limit:.1f} s")
        return written

    async def aclose(self) -> None:
        """Stop the model."""
        await self._writing.aclose()


class Writing:
    """One writing of a model, all of whose tokens are kept as they come.

    `surplus` counts received tokens that are not kept, `failure` is what the writer failed with
    after them.
    """

    def __init__(self, writing: TimedWriting, ended_by: EndedBy) -> None:
        self._writing = writing
        self._ended_by = ended_by
        self._unread: list[int] = []
        self._last = Written(())
        self._is_written = self._is_over = False
        self.surplus = 0
        self.failure: Exception | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the writer has ended by itself."""
        return self._last.end is not None

    async def next(self) -> Checked | None:
        """Return the next tokens to keep, up to where the writing ends; None after."""
        while not self._is_written:
            await self._receive(self._writing.next())
            if self._unread:
                return self._checked(self._take_unread(), None)
        if self._is_over:
            return None
        self._is_over = True
        return self._checked((), self._ended_by(self._last))

    async def aclose(self) -> None:
        """Stop the writer."""
        await self._writing.aclose()

    async def _receive(self, pulled: Awaitable[Written | None]) -> None:
        try:
            written = await pulled
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

    def _checked(self, token_ids: tuple[int, ...], closed_by: str | None) -> Checked:
        self.surplus -= len(token_ids)
        return Checked(token_ids, closed_by)

"""When one model reads what the other one writes: a pass for how many tokens."""

import math
import time
from typing import Protocol

_TIMES_ITS_LENGTH = 20
"""A chunk is read when so many times the last chunk's seconds have passed since that one began.

So reading along takes a twentieth of a span's time: where the small model is busy, or the large
one fast, chunks become fewer and longer.
"""

_TOKENS_BETWEEN_OPENINGS = 20
"""About how many tokens an untaught small model writes between two places where a span opens."""
_LONGEST_CHUNK = 64


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


class TurnsPace:
    """For a reader that the writer waits for: so it writes little that is dropped."""

    def __init__(self, chunk_tokens: int) -> None:
        self._chunk_tokens = chunk_tokens

    def is_due(self, unread: int) -> bool:
        """Return whether a chunk is written."""
        return unread >= self._chunk_tokens

    def writes_on(self, unread: int) -> bool:
        """Return False: the writer waits."""
        return False

    def note(self, began_s: float) -> None:
        """Do nothing: how long a reading takes changes nothing."""


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

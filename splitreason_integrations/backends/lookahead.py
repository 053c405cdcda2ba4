"""What a model would write by itself, and how probable a token is at each place of that.

As far as another author then writes the same, the probabilities are known, and nothing more need
be asked.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import anyio

MOST_TOKENS = 128
_MANY_TOKENS = 8
"""So many tokens foretold are worth a request, even where others came then."""
_MEMORY = 4
_TRIES_EVERY = 32


class Worth:
    """Whether lookahead was worth its requests lately, over all sessions of a model.

    Where it was not, it is tried again now and then: models and what they are asked change.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._left_out = 0

    def note(self, paid: bool) -> None:
        """Take in how one lookahead went."""
        self._share += (paid - self._share) / _MEMORY

    def asks(self) -> bool:
        """Return whether the next one is to be asked for."""
        if self._share >= 1 / 2:
            return True
        self._left_out += 1
        return self._left_out % _TRIES_EVERY == 0


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that a model writes next, and the probability at each; `ends` behind the last."""

    tokens: Sequence[int] = ()
    chances: Sequence[float] = ()
    ends: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every token has its probability; the last one itself may be hidden."""
        hidden = len(self.chances) - len(self.tokens)
        return hidden == 0 or (self.ends and hidden == 1)


class Lookahead:
    """What comes for one request, as it comes.

    Args:
        start: the length of the sequence that is gone on with.
        token: the one whose probability is told.
        more: gives what comes next; raises what the request fails with.
        end: ends the request.

    """

    def __init__(
        self,
        start: int,
        token: int,
        *,
        more: Callable[[], Awaitable[Draft]],
        end: Callable[[], None],
    ) -> None:
        self._start = start
        self._token = token
        self._more = more
        self._tokens: list[int] = []
        self._chances: list[float] = []
        self._comes = True
        self._waiting: anyio.CancelScope | None = None
        self._end = end

    async def follow(self, ids: Sequence[int], place: int) -> None:
        """Wait until it tells what is behind the first `place` of the ids, or cannot any more.

        Raises what the request fails with.
        """
        with anyio.CancelScope() as self._waiting:
            while self._comes and self._known(ids) < place and self._agrees(ids):
                more = await self._more()
                self._comes = more.is_whole and not more.ends
                if more.is_whole:
                    self._tokens += more.tokens
                    self._chances += more.chances
        if not self._agrees(ids):
            self.stop()

    def told(self, token: int, ids: Sequence[int], places: range) -> list[float]:
        """Return P(`token`) behind the first so many `ids`, for as many of the places as came."""
        if token != self._token or not places or places[0] < self._start:
            return []
        first, last = places[0] - self._start, places[-1] - self._start
        return self._chances[first : min(self._known(ids) - self._start, last) + 1]

    def stop(self) -> None:
        """End the request, and the waiting for it."""
        self._comes = False
        self._end()
        if self._waiting is not None:
            self._waiting.cancel()

    def is_used_up(self, ids: Sequence[int]) -> bool:
        """Return whether it was right to its end, which lies before the end of these ids."""
        ends = not self._comes and self._start + len(self._tokens) <= len(ids)
        return ends and self._agrees(ids)

    def paid(self, ids: Sequence[int]) -> bool:
        """Return whether it was worth its request, where these ids stand in the end."""
        return self._agrees(ids) or self._agreed(ids) >= _MANY_TOKENS

    def _known(self, ids: Sequence[int]) -> int:
        """Return the last place that is told; one before the first where none is."""
        return self._start + min(self._agreed(ids), len(self._chances) - 1)

    def _agrees(self, ids: Sequence[int]) -> bool:
        """Return whether all that came stands there, as far as both go."""
        return self._agreed(ids) == min(len(self._tokens), len(ids) - self._start)

    def _agreed(self, ids: Sequence[int]) -> int:
        pairs = zip(self._tokens, ids[self._start :], strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

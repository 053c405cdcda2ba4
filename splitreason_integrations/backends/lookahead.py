"""Drafts of what a model would write by itself, with the probability of one token at every place.

With the `ids` dialect and in vLLM the small model first drafts a continuation. Where the large
model then writes the same, the small model's close probabilities are known without a request.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import anyio

MOST_TOKENS = 128
_MANY_TOKENS = 8
"""A draft that matches so many tokens was worth its request, even if others followed."""
_MEMORY = 4
_TRIES_EVERY = 32


class DraftStats:
    """Whether drafts were worth their requests lately, over all sessions of a model.

    If they were not, one is tried now and then: models change, and so do their tasks.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._left_out = 0

    def note(self, useful: bool) -> None:
        """Count one draft."""
        self._share += (useful - self._share) / _MEMORY

    def wants_next(self) -> bool:
        """Return whether to ask for the next draft; counts the ones left out."""
        if self._share >= 1 / 2:
            return True
        self._left_out += 1
        return self._left_out % _TRIES_EVERY == 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A part of a draft.

    Attributes:
        tokens: the tokens that the model would write next.
        probabilities: the probability of the token in question at each of them.
        ends: whether this is the last part.

    """

    tokens: Sequence[int] = ()
    probabilities: Sequence[float] = ()
    ends: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every token has its probability; the last token itself may be missing."""
        missing = len(self.probabilities) - len(self.tokens)
        return missing == 0 or (self.ends and missing == 1)


class Lookahead:
    """One draft of a sequence's continuation, as it arrives.

    Args:
        start: the length of the sequence that it continues.
        token: the token whose probability it has.
        more: returns the next part; raises ModelCallError if the request fails.
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
        self._probabilities: list[float] = []
        self._arrives = True
        self._waiting: anyio.CancelScope | None = None
        self._end = end

    async def follow(self, ids: Sequence[int], place: int) -> None:
        """Wait until the probability behind the first `place` ids is known or cannot be.

        Raises ModelCallError if the request fails.
        """
        with anyio.CancelScope() as self._waiting:
            while self._arrives and self._last_known(ids) < place and self._matches(ids):
                more = await self._more()
                self._arrives = more.is_whole and not more.ends
                if more.is_whole:
                    self._tokens += more.tokens
                    self._probabilities += more.probabilities
        if not self._matches(ids):
            self.stop()

    def known(self, token: int, ids: Sequence[int], places: range) -> list[float]:
        """Return P(`token`) behind so many `ids` each, for as many of the places as are known."""
        if token != self._token or not places or places[0] < self._start:
            return []
        first, last = places[0] - self._start, places[-1] - self._start
        return self._probabilities[first : min(self._last_known(ids) - self._start, last) + 1]

    def stop(self) -> None:
        """End the request, and the waiting for it."""
        self._arrives = False
        self._end()
        if self._waiting is not None:
            self._waiting.cancel()

    def is_used_up(self, ids: Sequence[int]) -> bool:
        """Return whether the ids match the whole draft and reach its end."""
        ends = not self._arrives and self._start + len(self._tokens) <= len(ids)
        return ends and self._matches(ids)

    def was_useful(self, ids: Sequence[int]) -> bool:
        """Return whether enough of the draft matches these ids to be worth its request."""
        return self._matches(ids) or self._matching(ids) >= _MANY_TOKENS

    def _last_known(self, ids: Sequence[int]) -> int:
        """Return the last place with a known probability; one before the first if there is none."""
        return self._start + min(self._matching(ids), len(self._probabilities) - 1)

    def _matches(self, ids: Sequence[int]) -> bool:
        """Return whether ids and draft are the same as far as both go."""
        return self._matching(ids) == min(len(self._tokens), len(ids) - self._start)

    def _matching(self, ids: Sequence[int]) -> int:
        """Return how many tokens of the draft match."""
        pairs = zip(self._tokens, ids[self._start :], strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

"""Where a span ends: the small model reads along, one pass a chunk, and says when to hand back.

The pass that brings the small model's cache up to date also yields P(close tag) after every token.
The span is cut after the first token over the threshold; the rest is dropped.
"""

from collections.abc import Sequence

import anyio

from splitreason_integrations.backends.base import DraftsAhead
from splitreason_integrations.decide.resilience import Attempts, Retry
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.loop.participant import Participant


class Handback:
    """Both sessions during one span.

    Args:
        small: the model that reads along.
        large: the model that writes the span; None while none is loaded.
        threshold: P(close tag) above which the span ends; 1 reads nothing along.
        retry: how often a small model that fails is asked again.

    """

    def __init__(
        self, small: Participant, large: Participant | None, threshold: float, retry: Retry
    ) -> None:
        self._small = small
        self._large_model = large
        self._threshold = threshold
        self._retry = retry
        self._small_knows_end = False
        self.large_lost = False

    @property
    def _large(self) -> Participant:
        assert self._large_model is not None, "a span that has begun has a large model"
        return self._large_model

    def begin(self) -> None:
        """Show the open tag to the models that know it."""
        self._large.session.extend(self._large.tags.open_tokens)
        self._small.session.extend(self._small.tags.open_tokens)
        if self._reads:
            self._look_ahead()

    def end(self) -> None:
        """Show the close tag to the models that know it."""
        if not self.large_lost:
            self._large.session.extend(self._large.tags.close_tokens)
        if not self._small_knows_end:
            rest = self._small.bridge_from(self._large.codec).rest()
            self._small.session.extend((*rest, *self._small.tags.close_tokens))
        self._small.forget_surplus()

    def lose_large(self) -> None:
        """Leave the large model's session as it is from now on: it has failed."""
        self.large_lost = True

    def take_over(self, large: Participant) -> None:
        """Let another large model write on, whose session holds the span so far."""
        self._large_model, self.large_lost = large, False

    async def read(self, chunk: Sequence[int], ended_by: str | None) -> tuple[int, str | None]:
        """Bring the small model up to date with a chunk of the large model's tokens.

        Args:
            chunk: tokens in the large model's vocabulary.
            ended_by: how the large model ended the span after the chunk; None where it did not.

        Returns:
            How many of the chunk's tokens are kept, and who closed the span, if anybody did.

        """
        session, tags = self._small.session, self._small.tags
        start = session.length
        bridge = self._small.bridge_from(self._large.codec)
        converted = bridge.convert(chunk)
        session.extend(converted.token_ids)
        if not self._reads or not converted.token_ids:
            return len(chunk), ended_by
        behind = (*bridge.rest(), *tags.close_tokens) if ended_by else ()
        tail = converted.token_ids + behind
        session.extend(behind)
        probabilities = await self._probabilities(
            tags.close_tokens[0], last=len(tail), spare=len(behind)
        )
        for mine, theirs in converted.boundaries:
            if probabilities[theirs - 1] <= self._threshold:
                continue
            if ended_by is not None and mine == len(chunk):
                # Both end it here: the small one does, as where a chunk happens to end here.
                ended_by = ended_by if tags.close_tokens[1:] else "small"
                continue
            session.truncate(start + theirs)
            if await self._confirmed(probabilities[theirs - 1]):
                self._small.forget_surplus()
                return mine, "small"
            session.extend(tail[theirs:])
        self._small_knows_end = ended_by is not None
        if ended_by is None:
            self._look_ahead()
        return len(chunk), ended_by

    def _look_ahead(self) -> None:
        session = self._small.session
        if isinstance(session, DraftsAhead):
            session.look_ahead(self._small.tags.close_tokens[0])

    @property
    def _reads(self) -> bool:
        """Whether the small model may end a span."""
        return bool(self._small.tags) and self._threshold < 1

    async def _confirmed(self, probability: float) -> bool:
        """Return whether the whole of a close tag of several tokens is likely here."""
        session, tag = self._small.session, self._small.tags.close_tokens
        start = session.length
        for at, token in enumerate(tag[1:]):
            session.extend(tag[at : at + 1])
            probability *= (await self._probabilities(token, last=1, spare=0))[0]
        session.truncate(start)
        return probability > self._threshold

    async def _probabilities(self, token: int, *, last: int, spare: int) -> list[float]:
        """Return P(`token`) after each of the `last` tokens, without the `spare` very last.

        A small model that fails is called again, as `Retry` allows.
        """
        attempts = Attempts(self._retry)
        while True:
            try:
                return await self._small.session.read_probabilities(token, last=last, spare=spare)
            except ModelCallError as error:
                wait_s = attempts.note_failure(error, until_s=None)
                if wait_s is None:
                    raise
            await anyio.sleep(wait_s)

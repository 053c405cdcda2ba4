"""One reply in which a model is asked for the tags: does it give the whole of one somewhere?"""

from collections.abc import Sequence
from contextlib import aclosing
from math import prod

from splitreason_integrations.backends.base import (
    Gives,
    Model,
    Session,
    Verdict,
    Wanted,
    WriteOrder,
)
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.prompts import render
from splitreason_integrations.text.tags import CLOSE, OPEN, Tags

LIKELY = 0.01
"""The probability from which on a tag counts as given."""

BEGINNING_TOKENS = 16
"""How much of its reply a model writes before it is shown the beginning of a tag."""

_REPLY_TOKENS = 96


class ProbedReply:
    """A session with one prompt, in which a model writes until it gives a tag.

    Args:
        model: the model.
        tags: how it would write the tags.
        prompt: what it is asked.

    Attributes:
        session: the session, which the user closes.

    """

    def __init__(self, model: Model, tags: Tags, prompt: str) -> None:
        self._model = model
        self._tags = tags
        message = {"role": "user", "content": prompt}
        self.session: Session = model.open(
            render(model.codec, [message], None, hints=(model.hint,))
        )

    async def opens(self) -> bool:
        """Write on; return whether the model gives the open tag, and stop before it."""
        return await self._gives(self._tags.open_tokens, OPEN)

    async def closes(self) -> bool:
        """Show the model an open tag here; return whether it gives the close tag behind it."""
        self.session.extend(self._tags.open_tokens)
        return await self._gives(self._tags.close_tokens, CLOSE)

    async def _gives(self, tag: Sequence[int], spelled: str) -> bool:
        watch, ids = self._watch(tag), list[int]()
        while len(ids) < _REPLY_TOKENS:
            ids += await self._write(_REPLY_TOKENS - len(ids), watch)
            if watch is None or not watch.found:
                break
            if await self._is_whole(tag, watch.probability):
                return True
            watch.passed, watch.found = watch.index, False
        return self._cut_before(spelled, ids)

    async def can_spell(self) -> bool:
        """Return whether the first token of the open tag leads to the rest, a little way in."""
        if Gives.READING not in self._model.gives:
            return True
        await self._write(BEGINNING_TOKENS, None)
        return await self._is_whole(self._tags.open_tokens, 1.0)

    async def closes_when_shown(self) -> bool:
        """Return whether the model, a little way in, closes a span that it is shown."""
        await self._write(BEGINNING_TOKENS, None)
        return await self.closes()

    async def _is_whole(self, tag: Sequence[int], probability: float) -> bool:
        """Return whether the tag is likely here, given the probability of its first token."""
        if rest := len(tag) - 1:
            start = self.session.length
            self.session.extend(tag)
            facts = await self.session.read_facts(Wanted(own=True), last=rest)
            self.session.truncate(start)
            probability *= prod(fact.probability for fact in facts)
        return probability >= LIKELY

    def _cut_before(self, spelled: str, ids: Sequence[int]) -> bool:
        """Cut the session before a tag that is spelled in what was written; return whether one is.

        A tag may be spelled in other tokens than the watched one, and some servers give no
        probabilities.
        """
        decode = self._model.codec.decode
        at = decode(ids).find(spelled)
        if at < 0:
            return False
        kept = max(count for count in range(len(ids)) if len(decode(ids[:count])) <= at)
        self.session.truncate(self.session.length - len(ids) + kept)
        return True

    def _watch(self, tag: Sequence[int]) -> "_TagWatch | None":
        """Return a watch for a tag; None where the model's server gives no probabilities."""
        needed = Gives.WRITING if len(tag) == 1 else Gives.WRITING | Gives.READING
        return _TagWatch(tag[0]) if needed in self._model.gives else None

    async def _write(self, tokens: int, watch: "_TagWatch | None") -> list[int]:
        """Write greedily; return the new tokens. Unwatched where a server turns out to need it."""
        try:
            return await self._written(tokens, watch)
        except (ModelCallError, RequestError) as error:
            lasts = isinstance(error, RequestError) or not error.retryable
            if watch is None or not lasts:
                raise
            return await self._written(tokens, None)

    async def _written(self, tokens: int, watch: "_TagWatch | None") -> list[int]:
        order = WriteOrder(
            max_tokens=tokens,
            sampling=Sampling(temperature=0.0),
            seed=0,
            stream=0,
            stop_tokens=self._model.codec.end_tokens,
            watch=watch,
        )
        ids = list[int]()
        async with aclosing(self.session.write(order)) as writing:
            async for written in writing:
                ids += written.token_ids
        return ids


class _TagWatch:
    """Stops the writing where the first token of a tag is likely.

    Attributes:
        probability_of: that token.
        found: whether the writing was stopped.
        index: where it was stopped.
        probability: the probability there.
        passed: the last place that is not to be looked at again.

    """

    wants_entropy = wants_confidence = False

    def __init__(self, token: int) -> None:
        self.probability_of: int | None = token
        self.found = False
        self.index = self.passed = -1
        self.probability = 0.0

    def __call__(
        self,
        token_id: int,
        *,
        index: int,
        probability: float,
        entropy: float,
        confidence: float,
    ) -> Verdict:
        """Judge a chosen token."""
        self.found = index > self.passed and probability >= LIKELY
        if self.found:
            self.index, self.probability = index, probability
            return Verdict.STOP
        return Verdict.KEEP

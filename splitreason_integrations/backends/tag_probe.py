"""Whether a model was taught to mark hard spans, found out from its own replies to fixed prompts.

A taught model gives the open tag a fair probability where a reply becomes hard, and the close tag
soon after. Other models do not: measured on these prompts, the bundled `small` gives the open tag
0.99 and more in the four replies on its subject and 0.000004 at most in the others; the bundled
`base`, which has tokens for the tags and never learned them, 0.0001 at most. Two replies decide,
so that one chance hit makes no model taught, and prompts beside its subject make none untaught.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

from splitreason_integrations.backends.base import (
    Gives,
    Model,
    Session,
    Verdict,
    Wanted,
    WriteOrder,
)
from splitreason_integrations.backends.searches import Searches
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.processes import PerProcess
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.prompts import render
from splitreason_integrations.text.tags import CLOSE, OPEN, Tags, tags_of

PROMPTS = (
    "Nora has 47 boxes with 23 cards in each box. Then Nora sells 12 cards. How many cards does "
    "Nora have now?",
    "Facts:\nEach shelf in the library of Rosa holds 68 books.\n\nThe library of Ivan has 31 "
    "shelves.\n\nThe library of Rosa has 74 shelves.\n\nQuestion: How many books are in the "
    "library of Rosa?",
    "Tom makes 386 cups a day for 4 days. Then Tom gets 57 crates that hold 36 cups each. How many "
    "cups does Tom have now?",
    "Prove that the product of two odd numbers is odd, and name the step on which it rests.",
    "What does this print, and why?\n\ntotal = 1\nfor i in range(3, 30, 4):\n    total = total * i "
    "% 101\nprint(total)",
    "A train leaves at 14:35 and arrives at 17:20. It covers 231 km. What is its average speed in "
    "km per hour?",
    "Context: Invoice A is 418 euros. Invoice B is three times as much. Invoice C is 129 euros "
    "less than B.\n\nQuestion: What do the three invoices come to?",
    "Anna, Ben and Carl sit in a row. Carl is not in the middle. Ben sits left of Anna, and one of "
    "them sits between Ben and Carl. Who sits where?",
)
"""Ask for what small models find hard: products, sums of several steps, facts, proofs, code."""

LIKELY = 0.01
"""The probability from which on a tag counts as given."""

_ENOUGH = 2
"""Replies that have to open a span."""
_REPLY_TOKENS = 96
_BEGINNING_TOKENS = 16
"""How much of its reply a model writes before it is shown an open tag."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """What a model knows of the tags.

    Attributes:
        opens: whether it opens spans.
        closes: whether it closes the spans that it is shown.
        why: how that is known.

    """

    opens: bool
    closes: bool
    why: str


class Probe:
    """Finds out once what a model knows of the tags, and remembers it as long as it is loaded.

    Callers at the same time share one probe. What the model's spec says is not questioned.

    Args:
        find: asks the model.
        as_text: whether the tags may be plain text; a model without tokens for them knows none
            otherwise, and is asked nothing.

    """

    def __init__(self, find: Callable[[Model], Awaitable[Teaching]], *, as_text: bool) -> None:
        self._find = find
        self._as_text = as_text
        self._teachings: WeakKeyDictionary[Model, Teaching] = WeakKeyDictionary()
        self._searches = PerProcess(Searches[Teaching])

    def known(self, model: Model) -> Teaching | None:
        """Return what is known without asking the model; None where it has to be asked."""
        if not tags_of(model.codec, as_text=self._as_text):
            return Teaching(False, False, "it has no tokens for the tags")
        if model.taught is not None:
            return Teaching(model.taught, model.taught, "its spec says so")
        return self._teachings.get(model)

    async def __call__(self, model: Model) -> Teaching:
        """Return what a model knows of the tags.

        Raises:
            ModelCallError: if the model fails; the next call asks again.

        """
        known = self.known(model)
        if known is None:
            known = await self._searches.value.outcome(id(model), lambda: self._find(model))
            self._teachings[model] = known
        return known

    def forget(self, model: Model) -> None:
        """Have a model asked again: its weights have changed."""
        self._teachings.pop(model, None)


async def _probe_small(model: Model) -> Teaching:
    """Ask reply by reply, and stop as soon as no further reply can change the outcome."""
    opened = closed = tried = 0
    async with aclosing(_replies(model)) as replies:
        async for reply in replies:
            tried += 1
            opened += reply.opens
            closed += reply.closes
            if reply.is_hopeless:
                return Teaching(False, False, f"the beginning of {OPEN} never leads it to the rest")
            if opened >= _ENOUGH and closed:
                return Teaching(True, True, f"it gives {OPEN} and {CLOSE} in its own replies")
            if opened + len(PROMPTS) - tried < _ENOUGH:
                break
    if opened >= _ENOUGH:
        return Teaching(True, False, f"it gives {OPEN} in its own replies, but never {CLOSE}")
    return Teaching(False, False, f"it gives {OPEN} less than {LIKELY:g} in its own replies")


async def _probe_large(model: Model) -> Teaching:
    """Show an open tag after the first words of one reply. A large model has to open no span."""
    asked = _Asked(model, tags_of(model.codec, as_text=False), PROMPTS[0])
    try:
        knows = await asked.closes_when_shown()
    finally:
        asked.session.close()
    said = "at least" if knows else "less than"
    return Teaching(knows, knows, f"it gives {CLOSE} {said} {LIKELY:g} where a span was opened")


probe = Probe(_probe_small, as_text=True)
"""What a small model knows: whether it opens spans, and closes them."""

probe_large = Probe(_probe_large, as_text=False)
"""What a large model knows: whether it closes the spans that it is shown."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one reply shows. `is_hopeless` says that no further one can open a span."""

    opens: bool = False
    closes: bool = False
    is_hopeless: bool = False


async def _replies(model: Model) -> AsyncGenerator[_Reply, None]:
    """Yield what each reply shows: one by one where a model takes turns, else most at once."""
    yield await _reply(model, PROMPTS[0], is_first=True)
    rest = PROMPTS[1:]
    if model.resumes and not model.remote:
        for prompt in rest:
            yield await _reply(model, prompt)
        return
    tasks = [asyncio.ensure_future(_reply(model, prompt)) for prompt in rest]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reply(model: Model, prompt: str, *, is_first: bool = False) -> _Reply:
    tags = tags_of(model.codec, as_text=True)
    asked = _Asked(model, tags, prompt)
    try:
        if is_first and not tags.control and not await asked.can_spell():
            return _Reply(is_hopeless=True)
        if not await asked.gives(tags.open_tokens, OPEN, _REPLY_TOKENS):
            return _Reply()
        asked.session.extend(tags.open_tokens)
        return _Reply(True, await asked.gives(tags.close_tokens, CLOSE, _REPLY_TOKENS))
    finally:
        asked.session.close()


class _Asked:
    """A session with one of the prompts, in which a model is asked for tags.

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

    async def gives(self, tag: Sequence[int], spelled: str, tokens: int) -> bool:
        """Write on; return whether the whole tag is likely somewhere, and stop before it."""
        watch, ids = self._watch(tag), list[int]()
        while len(ids) < tokens:
            ids += await self._write(tokens - len(ids), watch)
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
        await self._write(_BEGINNING_TOKENS, None)
        return await self._is_whole(self._tags.open_tokens, 1.0)

    async def closes_when_shown(self) -> bool:
        """Return whether the model gives the close tag after an open one in its reply."""
        await self._write(_BEGINNING_TOKENS, None)
        self.session.extend(self._tags.open_tokens)
        return await self.gives(self._tags.close_tokens, CLOSE, _REPLY_TOKENS)

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

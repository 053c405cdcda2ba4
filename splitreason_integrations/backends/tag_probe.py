"""Whether a model was taught to mark hard spans, found out from its own replies to fixed prompts.

A taught model gives the open tag a fair probability where a reply becomes hard, and the close tag
soon after. Other models do not: measured on these prompts, the bundled `small` gives the open tag
0.99 and more in the four replies on its subject and 0.000004 at most in the others; the bundled
`base`, which has tokens for the tags and never learned them, 0.0001 at most. Two replies decide,
so that one chance hit makes no model taught, and prompts beside its subject make none untaught.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.probed_reply import LIKELY, ProbedReply
from splitreason_integrations.backends.searches import Searches
from splitreason_integrations.processes.children import PerProcess
from splitreason_integrations.text.tags import CLOSE, OPEN, tags_of

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

_ENOUGH = 2
"""Replies that have to open a span."""


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
    asked = ProbedReply(model, tags_of(model.codec, as_text=False), PROMPTS[0])
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
    asked = ProbedReply(model, tags, prompt)
    try:
        if is_first and not tags.control and not await asked.can_spell():
            return _Reply(is_hopeless=True)
        if not await asked.opens():
            return _Reply()
        return _Reply(True, await asked.closes())
    finally:
        asked.session.close()

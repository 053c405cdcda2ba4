"""Sessions of models elsewhere: servers and vLLM's engines get the whole sequence each time.

Their prefix cache takes the place of a session's KV cache, so a cut costs nothing. A backend says
how an order, probabilities, a draft and a prefill are asked for; the rest is the same for all.
"""

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from splitreason_integrations.backends.base import (
    End,
    TokenFacts,
    Wanted,
    WriteOrder,
    Written,
)
from splitreason_integrations.backends.held_answer import (
    Grammars,
    held_to_form,
    past_reasoning,
)
from splitreason_integrations.backends.judging import judged
from splitreason_integrations.backends.lookahead import MOST_TOKENS, Draft, DraftStats, Lookahead
from splitreason_integrations.backends.refusal import Refusal
from splitreason_integrations.backends.scores import (
    Asked,
    Scores,
    asked_for,
    facts_at,
    places_of,
)
from splitreason_integrations.backends.sequence import TokenSequence
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.sampling import Sampling

_log = logging.getLogger(__name__)
_PROMPTS_AT_ONCE = 256
_ABOUT_GRAMMARS = re.compile(r"grammar|structured|guided", re.IGNORECASE)
"""How vLLM's messages name what holds an answer to a form."""


@runtime_checkable
class SendingModel(Protocol):
    """What a session needs of its model; `no_grammars`: its engine refused to hold to one."""

    name: str
    context_tokens: int
    draft_stats: DraftStats
    no_grammars: Refusal


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """A request for a draft under way: how its parts are read, and how it is ended."""

    more: Callable[[], Awaitable[Draft]]
    end: Callable[[], None]


class SentSession(TokenSequence, ABC):
    """A sequence of ids, and how many of them its model has read already."""

    def __init__(
        self, model: SendingModel, prompt: Sequence[int], written: Sequence[int] = ()
    ) -> None:
        super().__init__(prompt, written)
        self._sender = model
        self._seen = 0
        self._draft: Lookahead | None = None
        self._end_prefill: Callable[[], None] | None = None

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that the model has not been sent yet."""
        return len(self._ids) - self._seen

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is sent until they are needed."""
        self._check_open()
        self._ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Cut the sequence to `length` tokens."""
        self._check_cut(length)
        del self._ids[length:]
        self._seen = min(self._seen, length)
        self._drop_draft()
        self._drop_prefill()

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator ends the request at once."""
        self._check_open()
        self._drop_draft()
        self._drop_prefill()
        left, refused, end = order.max_tokens, list[int](), None
        asks_again = self._failover(order.sampling)
        while end is None:
            most = min(left, self._room)
            if most <= 0 or is_late(order):
                yield Written((), End.LENGTH if most <= 0 else End.DEADLINE)
                return
            # If the watch refuses a token, another one is drawn in its place before all continues.
            asked = self._asked(order, refused)
            try:
                async with aclosing(self._answer(asked, most, refused)) as answer:
                    async for piece in answer:
                        written = self._past_reasoning(piece, order)
                        left -= len(written.token_ids)
                        continues = written.end is End.LENGTH and left > 0
                        end = None if continues else written.end
                        if written.token_ids or end or self._is_alive:
                            yield replace(written, end=end)
            except ModelCallError as error:
                if not (asks_again(error) or self._gives_up_grammars(asked, error)):
                    raise

    def _answer(
        self, asked: WriteOrder, most: int, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        """Return what one request writes; no request is sent for a token that is the only one."""
        if len(asked.only) == 1:
            return self._write_only(asked, refused)
        return self._ask(asked, 1 if refused else most, refused)

    async def _write_only(
        self, asked: WriteOrder, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        (token,) = asked.only
        ends = token in asked.stop_tokens
        one = Written((), End.STOP_TOKEN, token) if ends else Written((token,))
        kept, _ = self._judged(asked, one, [Scores({token: 1.0}, token)], refused)
        self._saw(kept.token_ids)
        yield kept

    def _asked(self, order: WriteOrder, refused: Sequence[int]) -> WriteOrder:
        """Return an order as the next request gives it."""
        asked = replace(order, forbidden=(*order.forbidden, *refused))
        if order.guide is None:
            return asked
        grammars = Grammars.NONE if self._sender.no_grammars.holds else self._grammars
        return held_to_form(asked, order.guide, self._reply, refused, grammars=grammars)

    @property
    def _grammars(self) -> Grammars:
        """What the engine can be given, unless it has refused."""
        return Grammars.WITHOUT_TAGS

    def _past_reasoning(self, written: Written, order: WriteOrder) -> Written:
        """Keep the end of the reasoning, where a request ended with it."""
        passed = written if order.guide is None else past_reasoning(written, order)
        if passed is not written:
            self._saw(passed.token_ids[-1:])
        return passed

    def _gives_up_grammars(self, asked: WriteOrder, error: ModelCallError) -> bool:
        """Return whether a refusal is one of a grammar; none is sent for a while."""
        if (
            asked.grammar is None
            or error.retryable
            or not _ABOUT_GRAMMARS.search(error.said or str(error))
        ):
            return False
        if self._sender.no_grammars.holds:
            # Another request has learned it meanwhile.
            return True
        _log.warning(
            "%s refuses a grammar (%s); its answers are held to their form token by token",
            self._sender.name,
            error,
        )
        self._sender.no_grammars.begin()
        return True

    @property
    def _reply(self) -> list[int]:
        return self._ids[self._prompt_tokens :]

    async def read_facts(
        self, wanted: Wanted, *, last: int | None = None, spare: int = 0
    ) -> list[TokenFacts]:
        """Read what is pending; return facts of each token of it, or of the `last` of it.

        Places that a draft does not know take a prompt each, in requests of many prompts. Raises
        ModelCallError.
        """
        self._check_open()
        lengths = self._pending(last, spare)
        scores = await self._drafted(wanted, lengths)
        if not scores and wanted == Wanted(own=True, forbidden=wanted.forbidden):
            scores = await self._read_own(lengths, wanted.forbidden) or {}
        left = [place for place in places_of(wanted, lengths) if place not in scores]
        for at in range(0, len(left), _PROMPTS_AT_ONCE):
            batch = left[at : at + _PROMPTS_AT_ONCE]
            asked = asked_for(wanted, self._ids[batch[0] : batch[-1] + 1])
            found = await self._scored([self._ids[:place] for place in batch], asked, wanted)
            scores |= dict(zip(batch, found, strict=True))
        self._check_open()
        self._saw(())
        return facts_at(wanted, lengths, self._ids, scores)

    def look_ahead(self, token_id: int) -> None:
        """Start a draft up to `token_id`: one request in place of one for every place."""
        self._check_open()
        most = min(MOST_TOKENS, self._room)
        if most <= 0 or (self._draft is not None and not self._draft.is_used_up(self._ids)):
            return
        start = self._draft_starter(token_id, most)
        if start is None:
            return
        self._drop_draft()
        if self._sender.draft_stats.wants_next():
            request = start()
            self._draft = Lookahead(len(self._ids), token_id, more=request.more, end=request.end)

    def prefill(self) -> None:
        """Start reading what is pending; the model writes a token behind it that nobody uses."""
        self._check_open()
        if not self.unread or self._room <= 0:
            return
        start = self._prefill_starter()
        if start is not None:
            end = start()
            self._drop_prefill()
            self._saw(())
            self._end_prefill = end

    def close(self) -> None:
        """End what is being asked of the model; nothing can be asked any more."""
        self.is_open = False
        self._drop_draft()
        self._drop_prefill()

    @abstractmethod
    def _ask(
        self, order: WriteOrder, most: int, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        """Yield what one request writes, up to its end or to a token that the watch refuses."""

    @abstractmethod
    async def _scored(
        self, prompts: Sequence[Sequence[int]], asked: Asked, wanted: Wanted
    ) -> list[Scores]:
        """Return what is asked for behind each prompt; raise ModelCallError.

        None of the tokens that `wanted` forbids counts as the likeliest.
        """

    async def _read_own(self, lengths: range, forbidden: Sequence[int]) -> dict[int, Scores] | None:
        """Return the scores before each token, by place, if one pass over them is possible.

        None of the tokens that are forbidden counts as the likeliest.
        """
        return None

    @abstractmethod
    def _draft_starter(self, token_id: int, most: int) -> Callable[[], DraftRequest] | None:
        """Return what asks for a draft of at most so many tokens, None if that is not possible."""

    @abstractmethod
    def _prefill_starter(self) -> Callable[[], Callable[[], None]] | None:
        """Return what starts a prefill and returns how to end it, None if that is not possible."""

    @abstractmethod
    def _ban_ignored(self, order: WriteOrder) -> Exception:
        """Return the error for a model that writes a token which an order ruled out."""

    def _judged(
        self, order: WriteOrder, written: Written, scores: Sequence[Scores], refused: list[int]
    ) -> tuple[Written, bool]:
        """Return what the form and the watch keep, and whether the next token is refused."""
        tokens, guide = written.tokens, order.guide
        return judged(
            order,
            written,
            scores,
            refused,
            first=self._position,
            fitting=len(tokens) if guide is None else guide.accepted(self._reply, tokens),
            ban_ignored=self._ban_ignored,
        )

    @property
    def _is_alive(self) -> bool:
        """Whether the model works on tokens that are not shown."""
        return False

    def _failover(self, sampling: Sampling) -> Callable[[ModelCallError], bool]:
        """Return what decides, failure by failure, whether to ask again."""
        return lambda _: False

    @property
    def _room(self) -> int:
        """Tokens that the context still holds."""
        return self._sender.context_tokens - len(self._ids)

    async def _drafted(self, wanted: Wanted, places: range) -> dict[int, Scores]:
        """Return the scores at the first of the places, as far as the draft knows them."""
        draft, token_id = self._draft, wanted.probability_of
        if draft is None or not places or token_id is None or wanted.entropy or wanted.own:
            return {}
        try:
            await draft.follow(self._ids, places[-1])
        except ModelCallError:
            # The request for the other places shows whether the model still fails.
            draft.stop()
        self._check_open()
        known = draft.known(token_id, self._ids, places)
        return {place: Scores({token_id: one}) for place, one in zip(places, known, strict=False)}

    def _drop_draft(self) -> None:
        """End the draft; note whether it was useful."""
        if self._draft is not None:
            self._sender.draft_stats.note(self._draft.was_useful(self._ids))
            self._draft.stop()
            self._draft = None

    def _drop_prefill(self) -> None:
        """End a prefill; what was read stays in the model's prefix cache."""
        if self._end_prefill is not None:
            self._end_prefill()
            self._end_prefill = None

    def _saw(self, token_ids: Sequence[int]) -> None:
        """Note that the model has read the sequence and written these tokens behind it."""
        self.read += self.unread
        self._ids += token_ids
        self._seen = len(self._ids)

    def _pending(self, last: int | None, spare: int) -> range:
        """Return behind how many tokens each a probability is asked for: see `Session`."""
        length = len(self._ids)
        first = length + 1 - min(last or length, max(1, self.unread))
        return range(first, length + 1 - spare)


def left_s(order: WriteOrder) -> float | None:
    """Return the seconds until an order's deadline, 0 once it has passed, None without one."""
    return None if order.deadline_s is None else max(0.0, order.deadline_s - time.monotonic())


def is_late(order: WriteOrder) -> bool:
    """Return whether an order's deadline has passed."""
    return left_s(order) == 0

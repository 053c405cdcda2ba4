"""Models that vLLM runs in processes of this one, token ids both ways.

vLLM's prefix cache takes the place of a session's KV cache: what was read stays there, whole block
by block, and what was cut off costs nothing. The resumable input that vLLM has as well keeps the
last block, too, which saves 0.7 ms of a hand-over's first token (4.5 ms against 3.8 ms with the
embedded large model on a CPU) and nothing of the whole (298 ms against 299 ms for 12 hand-overs);
it holds its memory between hand-overs and cannot be cut, so it is not used.
"""

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from splitreason_integrations.backends.base import End, Verdict, WriteOrder, Written
from splitreason_integrations.backends.lookahead import (
    MOST_TOKENS,
    Draft,
    Lookahead,
    Worth,
)
from splitreason_integrations.backends.sent_sequence import SentSequence
from splitreason_integrations.backends.vllm_local.engine import Engine, Writing
from splitreason_integrations.backends.vllm_local.params import (
    chances,
    lookahead,
    scoring,
    writing,
    written,
)
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import RequestError, SessionError
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling

_PROMPTS_AT_ONCE = 256


class LocalVLLM:
    """A model on an engine of vLLM. `vocabulary` is how many token ids it can read."""

    remote = False
    resumes = False
    shows_logits = False

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        *,
        name: str,
        vocabulary: int,
        context_tokens: int,
        prices: Prices | None = None,
        hint: str | None = None,
        default_sampling: Sampling | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self.prices = prices or Prices()
        self.hint = hint
        self.vocabulary = vocabulary
        self.context_tokens = context_tokens
        self.default_sampling = default_sampling or Sampling(temperature=0.0)
        self.engine = engine
        self.worth = Worth()
        self._sessions: weakref.WeakSet[VLLMSession] = weakref.WeakSet()

    @property
    def open_sessions(self) -> int:
        """How many sessions may still ask the engine for something."""
        return sum(session.is_open for session in self._sessions)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> "VLLMSession":
        """Start a session with a prompt, and what stands behind it; nothing is asked yet."""
        session = VLLMSession(self, prompt, written)
        self._sessions.add(session)
        return session

    async def reload(self) -> None:
        """Go on with what the model's files hold now, of the same shape; no request may be running.

        In place on a GPU; on a CPU the engine is started again. Raises ModelCallError.
        """
        await asyncio.wrap_future(self.engine.do(self.engine.reload()))


class VLLMSession(SentSequence):
    """One sequence, as ids; every order is a request of its own to the engine."""

    def __init__(
        self, model: LocalVLLM, prompt: Sequence[int], written: Sequence[int] = ()
    ) -> None:
        super().__init__(prompt, written, model.worth)
        self._model = model
        self._checked(self._ids)
        self._writing: Writing | None = None

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is computed until they are needed."""
        super().extend(self._checked(token_ids))

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator ends the request at once."""
        self._check_open()
        self._check_can(order)
        self._drop_foretelling()
        self._drop_prefill()
        left, refused = order.max_tokens, list[int]()
        while True:
            room = min(left, self._model.context_tokens - len(self._ids))
            if room <= 0 or _left_s(order) == 0:
                yield Written((), End.LENGTH if room <= 0 else End.DEADLINE)
                return
            # Where a token was refused, another one is drawn in its place before all goes on.
            asked = replace(order, forbidden=(*order.forbidden, *refused))
            with self._asked(asked, 1 if refused else room) as answer:
                while (piece := await self._next(answer, order)) is not None:
                    one, refuses = self._judged(piece, asked, refused)
                    left -= len(one.token_ids)
                    if one.token_ids or one.end:
                        yield one
                    if one.end:
                        return
                    if refuses or piece.finish_reason:
                        break
                else:
                    yield Written((), End.DEADLINE)
                    return

    async def read_probabilities(
        self, token_id: int, *, last: int | None = None, spare: int = 0
    ) -> list[float]:
        """Read what is pending; return P(`token_id`) after each of it, or after the `last` of it.

        A batch with a prompt for each of these places that was not foretold; raises ModelCallError.
        """
        self._check_open()
        engine, places = self._model.engine, self._pending(last, spare)
        found = await self._foretold(token_id, places)
        for start in range(len(found), len(places), _PROMPTS_AT_ONCE):
            prompts = [self._ids[:at] for at in places[start : start + _PROMPTS_AT_ONCE]]
            job = engine.do(engine.last(prompts, scoring(token_id)))
            for piece in await asyncio.wrap_future(job):
                found += chances(piece, token_id)
        self._check_open()
        self._saw(())
        return found

    def look_ahead(self, token_id: int) -> None:
        """Have the engine write on up to a token, with its probability all along.

        That is one request in place of one for every place.
        """
        self._check_open()
        most = min(MOST_TOKENS, self._model.context_tokens - len(self._ids))
        if not self._lacks_foretelling or most <= 0:
            return
        self._drop_foretelling()
        if self._worth.asks():
            params = lookahead(token_id, max_tokens=most)
            ahead = Writing(self._model.engine, tuple(self._ids), params)
            more = partial(_told_ahead, ahead, token_id)
            self._foretelling = Lookahead(len(self._ids), token_id, more=more, end=ahead.end)

    def prefill(self) -> None:
        """Have the engine read what is pending, and write a token that nobody asks for."""
        self._check_open()
        # It writes a token behind what it reads.
        if self.unread and self.length < self._model.context_tokens:
            self._reads_ahead(Writing(self._model.engine, tuple(self._ids), scoring()).end)

    def close(self) -> None:
        """End what is being written; nothing can be asked any more."""
        self.is_open = False
        self._drop_foretelling()
        self._drop_prefill()
        if self._writing is not None:
            self._writing.end()

    @contextmanager
    def _asked(self, order: WriteOrder, most: int) -> Generator[Writing, None, None]:
        """Ask the engine for an order."""
        position = len(self._ids) - self._prompt_tokens
        params = writing(order, max_tokens=most, position=position)
        self._writing = Writing(self._model.engine, self._ids, params)
        try:
            yield self._writing
        finally:
            self._writing.end()
            self._writing = None

    async def _next(self, answer: Writing, order: WriteOrder) -> Any:
        """Return the next piece, None where the deadline comes before it."""
        try:
            async with asyncio.timeout(_left_s(order)):
                piece = await answer.next()
        except TimeoutError:
            return None
        self._check_open()
        return piece

    def _judged(self, piece: Any, order: WriteOrder, refused: list[int]) -> tuple[Written, bool]:
        """Return what of a piece the watch lets stand, and whether it refuses the next token.

        `refused` collects the tokens that may not stand at one place.
        """
        one, refuses = written(piece, order, label=self._model.name), False
        watch = order.watch
        if watch is not None:
            first = len(self._ids) - self._prompt_tokens
            told = watch.probability_of
            odds = [0.0] * len(piece.token_ids) if told is None else chances(piece, told)
            for at, (token, chance) in enumerate(zip(piece.token_ids, odds, strict=True)):
                verdict = watch(token, index=first + at, probability=chance, entropy=0.0)
                if verdict is not Verdict.KEEP:
                    refuses = verdict is Verdict.REFUSE
                    one = Written(one.token_ids[:at], None if refuses else End.WATCH)
                    break
                refused.clear()
            if refuses:
                refused.append(token)
        self._saw(one.token_ids)
        return one, refuses

    def _checked(self, token_ids: Sequence[int]) -> Sequence[int]:
        """Return ids that the model can read: others would end its engine, for everybody."""
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self._model.vocabulary:
            raise SessionError(
                f"{self._model.name} has {self._model.vocabulary} token ids; these are not its own"
            )
        return token_ids

    def _check_can(self, order: WriteOrder) -> None:
        if order.guide is not None or (order.watch is not None and order.watch.wants_entropy):
            raise RequestError(
                f"{self._model.name}: vLLM can neither keep an answer to a form that is begun nor "
                "tell entropies; that takes a model by transformers, such as 'hf:<folder>'"
            )


async def _told_ahead(ahead: Writing, token_id: int) -> Draft:
    """Return what is written next, and P(`token_id`) at each of it."""
    piece = await ahead.next()
    if piece is None:
        return Draft(ends=True)
    told = chances(piece, token_id)
    return Draft(piece.token_ids, told, piece.finish_reason is not None)


def _left_s(order: WriteOrder) -> float | None:
    """Return the seconds until an order's deadline, 0 once it is past, None without one."""
    return None if order.deadline_s is None else max(0.0, order.deadline_s - time.monotonic())

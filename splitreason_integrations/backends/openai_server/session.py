"""Sessions over a server: a sequence is its token ids alone.

The server's prefix cache takes the place of a KV cache, so what was cut off costs nothing. Every
order is one request of its own, or goes on with the answer to the one before.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar

from splitreason_integrations.backends.base import (
    End,
    Verdict,
    Watch,
    WriteOrder,
    Written,
)
from splitreason_integrations.backends.lookahead import MOST_TOKENS, Lookahead
from splitreason_integrations.backends.openai_server.answer import Answering
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.dialects import Dialect, Wanted
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.scoring import told_ahead, told_chances
from splitreason_integrations.backends.openai_server.service import Service
from splitreason_integrations.backends.openai_server.wire import (
    Part,
    Question,
    UnreadableError,
    Usage,
)
from splitreason_integrations.backends.sent_sequence import SentSequence
from splitreason_integrations.errors import ModelCallError, RequestError

_PROMPTS_AT_ONCE = 256
_T = TypeVar("_T")


class ServerSession(SentSequence):
    """One sequence, as ids. `requests` counts what was asked of the server for it."""

    def __init__(self, model: Service, prompt: Sequence[int], written: Sequence[int] = ()) -> None:
        super().__init__(prompt, written, model.worth)
        self._model = model
        self._prompt = prompt
        self._waiting: asyncio.Timeout | None = None
        self._last: Replica | None = None
        self._answering: Answering | None = None
        self._thinks = False
        self.requests = 0

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is sent until they are needed."""
        super().extend(token_ids)
        self._drop_answer()

    def truncate(self, length: int) -> None:
        """Cut the sequence to `length` tokens."""
        super().truncate(length)
        self._drop_answer()

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator ends the request at once."""
        self._check_open()
        self._check_can(order)
        self._drop_foretelling()
        self._drop_prefill()
        left, refused, end, failures = order.max_tokens, list[int](), None, 0
        while end is None:
            most = min(left, self._model.context_tokens - len(self._ids))
            if most <= 0 or _is_late(order):
                yield Written((), End.LENGTH if most <= 0 else End.DEADLINE)
                return
            # Where a token was refused, another one is drawn in its place before all goes on.
            asked = replace(order, forbidden=(*order.forbidden, *refused))
            try:
                async with aclosing(self._ask(asked, 1 if refused else most, refused)) as answer:
                    async for written in answer:
                        left -= len(written.token_ids)
                        redrawn = written.end is End.LENGTH and left > 0
                        end = None if redrawn else written.end
                        # A sign of life from a model that reasons where nobody sees it.
                        if written.token_ids or end or self._thinks:
                            yield replace(written, end=end)
            except ModelCallError as error:
                if self._model.learns(error):
                    continue
                failures += 1
                if not self._another_goes_on(error, failures):
                    raise

    async def read_probabilities(
        self, token_id: int, *, last: int | None = None, spare: int = 0
    ) -> list[float]:
        """Read what is pending; return P(`token_id`) after each of it, or after the `last` of it.

        One request with a prompt for each of these places that was not foretold; raises
        ModelCallError.
        """
        self._check_open()
        places = self._pending(last, spare)
        chances = await self._foretold(token_id, places)
        for start in range(len(chances), len(places), _PROMPTS_AT_ONCE):
            prompts = [self._ids[:at] for at in places[start : start + _PROMPTS_AT_ONCE]]
            chances += await self._scored(prompts, token_id)
        self._check_open()
        self._saw(())
        return chances

    def look_ahead(self, token_id: int) -> None:
        """Have the server write on up to a token, with its probability all along.

        That is one request in place of one for every place, made where the dialect knows how.
        """
        self._check_open()
        dialect = self._model.dialect
        most = min(MOST_TOKENS, self._model.context_tokens - len(self._ids))
        if not self._lacks_foretelling or dialect is None or most <= 0:
            return
        self._drop_foretelling()
        question = dialect.lookahead(self._ids, token_id, most)
        if question is not None and self._worth.asks():
            call = self._call(question)
            more = partial(told_ahead, call, self._model.codec, token_id)
            self._foretelling = Lookahead(len(self._ids), token_id, more=more, end=call.end)

    def prefill(self) -> None:
        """Have the server read what is pending, where the dialect knows how."""
        self._check_open()
        dialect = self._model.dialect
        # A server writes a token behind what it reads.
        if dialect is None or not self.unread or self.length >= self._model.context_tokens:
            return
        question = dialect.prefill(self._ids)
        if question is not None:
            self._reads_ahead(self._call(question).end)

    def close(self) -> None:
        """End what is being asked of the server; nothing can be asked any more."""
        self.is_open = False
        self._drop_answer()
        self._drop_foretelling()
        self._drop_prefill()
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    async def _ask(
        self, order: WriteOrder, most: int, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        """Yield what comes for one request, up to its end or to a token that is refused."""
        dialect = await self._dialect(order)
        if dialect is None:
            yield Written((), End.DEADLINE)
            return
        dialect.check(order)
        answering = self._answering or self._answered(dialect, order, most)
        self._answering, end = None, None
        try:
            while end is None:
                try:
                    written, refuses = await self._next(answering, order, most, refused)
                except ModelCallError:
                    if order.watch is None and (rest := answering.rest(most)):
                        self._saw(rest)
                        yield Written(rest)
                    raise
                end, most = written.end, most - len(written.token_ids)
                if end is End.LENGTH and answering.goes_on and dialect.ahead_tokens:
                    self._answering = answering
                yield written
                if refuses:
                    return
            if end not in (End.DEADLINE, End.WATCH) and not answering.goes_on:
                self._took(answering, await answering.settle())
        finally:
            if self._answering is not answering:
                await answering.call.ended()

    def _answered(self, dialect: Dialect, order: WriteOrder, most: int) -> Answering:
        """Ask for the sequence to go on."""
        room = self._model.context_tokens - len(self._ids)
        wanted = Wanted(
            self._prompt,
            self._ids[self._prompt_tokens :],
            order,
            min(max(most, dialect.ahead_tokens), room),
        )
        call = self._call(dialect.question(wanted))
        return Answering(call, dialect.answer(wanted), self.unread)

    async def _next(
        self, answering: Answering, order: WriteOrder, most: int, refused: list[int]
    ) -> tuple[Written, bool]:
        """Return what comes next, and whether a token behind it is refused.

        It has an end where the deadline or the answer's end comes.
        """
        limit_s = _sooner_s(_left_s(order), answering.call.read_s)
        try:
            written, part = await self._in_time(answering.next(most), limit_s)
        except TimeoutError:
            if not _is_late(order):
                raise answering.call.stalled() from None
            rest = answering.rest(most) if order.watch is None else ()
            self._saw(rest)
            return Written(rest, End.DEADLINE), False
        self._thinks, refuses = bool(part.thought), False
        if order.watch is not None:
            try:
                written, refuses = self._judged(order.watch, written, part, refused)
            except UnreadableError as error:
                raise answering.unreadable(error) from error
        self._saw(written.token_ids)
        return written, refuses

    async def _in_time(self, doing: Awaitable[_T], limit_s: float) -> _T:
        """Await; raise TimeoutError when the time is up, SessionError where this is closed."""
        try:
            async with asyncio.timeout(limit_s) as self._waiting:
                done = await doing
        except TimeoutError:
            self._check_open()
            raise
        finally:
            self._waiting = None
        self._check_open()
        return done

    async def _dialect(self, order: WriteOrder | None = None) -> Dialect | None:
        """Return how the server is spoken to; None where the deadline comes first."""
        if (known := self._model.dialect) is not None:
            return known
        self._last = self._model.replicas.choose(self._last)
        limit_s = self._last.server.read_s
        left_s = None if order is None else _left_s(order)
        try:
            return await self._in_time(
                self._model.find_dialect(self._last), _sooner_s(left_s, limit_s)
            )
        except TimeoutError:
            if order is not None and _is_late(order):
                return None
            self._last.failed()
            raise self._last.server.stalled() from None

    def _judged(
        self, watch: Watch, written: Written, part: Part, refused: list[int]
    ) -> tuple[Written, bool]:
        """Return what of a part the watch lets stand, and whether it refuses the next token.

        `refused` collects the tokens that may not stand at one place.
        """
        tokens = written.token_ids
        if written.stop_token is not None:
            tokens = (*tokens, written.stop_token)
        chances = [0.0] * len(tokens)
        if watch.probability_of is not None:
            chances = part.chances(self._model.codec, watch.probability_of)[: len(tokens)]
        if len(chances) < len(tokens):
            raise UnreadableError(
                "does not tell log probabilities; use a server that knows logprob_token_ids, such "
                "as vLLM, or another trigger",
                lasting=True,
            )
        first = len(self._ids) - self._prompt_tokens
        for at, (token, chance) in enumerate(zip(tokens, chances, strict=True)):
            verdict = watch(token, index=first + at, probability=chance, entropy=0.0)
            if verdict is Verdict.STOP:
                return Written(tokens[:at], End.WATCH), False
            if verdict is Verdict.REFUSE:
                if token in refused:
                    raise UnreadableError(
                        "writes a token again that was ruled out by logit_bias, which the server "
                        "ignores; use one that heeds it, such as vLLM or llama.cpp",
                        lasting=True,
                    )
                refused.append(token)
                return Written(tokens[:at]), True
            refused.clear()
        return written, False

    async def _scored(self, prompts: Sequence[Sequence[int]], token_id: int) -> list[float]:
        """Return P(`token_id`) behind each prompt, from the first server that tells."""
        failures = 0
        while True:
            try:
                dialect = await self._dialect()
                assert dialect is not None, "there is no deadline"
                call = self._call(dialect.scoring(prompts, token_id))
                try:
                    return await told_chances(call, self._model.codec, len(prompts), token_id)
                finally:
                    await call.ended()
            except ModelCallError as error:
                if self._model.learns(error):
                    continue
                failures += 1
                if not self._another_goes_on(error, failures):
                    raise

    def _call(self, question: Question) -> Call:
        """Ask the server that is best to be asked."""
        self.requests += 1
        self._last = self._model.replicas.choose(self._last)
        return Call(self._last, question)

    def _drop_answer(self) -> None:
        """Ask for nothing more of an answer: the sequence goes on in another way."""
        if self._answering is not None:
            self._answering.call.end()
            self._answering = None

    def _another_goes_on(self, error: ModelCallError, failures: int) -> bool:
        """Return whether a replica takes over from one that failed, with all that stands here."""
        replicas = self._model.replicas
        return error.retryable and failures < len(replicas.all) and replicas.one_is_ready

    def _took(self, answering: Answering, usage: Usage | None) -> None:
        """Count what the server says that it read, where it does, and not what it had to."""
        if usage is not None:
            self.read += usage.read - answering.unread

    def _check_can(self, order: WriteOrder) -> None:
        if order.guide is not None or (order.watch is not None and order.watch.wants_entropy):
            raise RequestError(
                f"{self._model.name}: a model behind a server can neither keep an answer to a form "
                "nor tell entropies; that takes a model in this process"
            )


def _left_s(order: WriteOrder) -> float | None:
    return None if order.deadline_s is None else order.deadline_s - time.monotonic()


def _sooner_s(left_s: float | None, limit_s: float) -> float:
    return limit_s if left_s is None else min(left_s, limit_s)


def _is_late(order: WriteOrder) -> bool:
    left_s = _left_s(order)
    return left_s is not None and left_s <= 0

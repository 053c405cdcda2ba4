"""Sessions over a server: a sequence is its token ids alone.

Every order is one request of its own, or continues with the answer to the one before.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from splitreason_integrations.backends.base import End, Wanted, WriteOrder, Written
from splitreason_integrations.backends.held_answer import Grammars
from splitreason_integrations.backends.openai_server.answer import Answering
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.chat import Chat
from splitreason_integrations.backends.openai_server.dialects import Continuation, Dialect
from splitreason_integrations.backends.openai_server.ids import settings_of
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.room import Room
from splitreason_integrations.backends.openai_server.scoring import (
    read_draft,
    read_scores,
    scores_in,
    sharpened,
)
from splitreason_integrations.backends.openai_server.service import Service
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.backends.openai_server.typed import (
    ANSWER_TOKENS,
    in_a_chat,
    up_to_answer,
)
from splitreason_integrations.backends.openai_server.wire import (
    MisfitError,
    Part,
    Question,
    UnreadableError,
    Usage,
)
from splitreason_integrations.backends.scores import Asked, Scores, asked_by
from splitreason_integrations.backends.sent_session import (
    DraftRequest,
    SentSession,
    is_late,
    left_s,
)
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.sampling import Sampling

_T = TypeVar("_T")


class ServerSession(SentSession):
    """One sequence, as ids.

    Attributes:
        requests: how many requests were sent for it.

    """

    def __init__(self, model: Service, prompt: Sequence[int], written: Sequence[int] = ()) -> None:
        super().__init__(model, prompt, written)
        self._model = model
        self._prompt = prompt
        self._waiting: asyncio.Timeout | None = None
        self._last: Replica | None = None
        self._answering: Answering | None = None
        self._works = False
        self._last_call: Call | None = None
        self._room_left = Room(model.context_tokens)
        self._misfits = 0
        self.left_out: frozenset[str] = frozenset()
        self.requests = 0

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is sent until they are needed."""
        super().extend(token_ids)
        self._drop_answer()

    def truncate(self, length: int) -> None:
        """Cut the sequence to `length` tokens."""
        super().truncate(length)
        self._drop_answer()

    def close(self) -> None:
        """End what is being asked of the server; nothing can be asked any more."""
        super().close()
        self._drop_answer()
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    def _asked(self, order: WriteOrder, refused: Sequence[int]) -> WriteOrder:
        dialect = self._model.dialect
        if order.guide is not None and isinstance(dialect, Chat):
            if self._answering is not None and self._answering.is_typed:
                return replace(order, form=order.guide.form)
            at_once = dialect.answers_at_once(self._reply)
            asked = in_a_chat(order, order.guide, self._reply, self._model, at_once=at_once)
            # Asked a second time, it is drawn from another seed.
            return replace(asked, seed=order.seed + self._misfits)
        asked = super()._asked(order, refused)
        if order.guide is None or not isinstance(dialect, Text) or dialect.names_tokens:
            return asked
        # Text cannot be held to a control token: its beginning alone might come.
        between = order.guide.between
        return replace(asked, only=tuple(one for one in asked.only if one not in between))

    @property
    def _grammars(self) -> Grammars:
        return Grammars.WITH_TAGS if isinstance(self._model.dialect, Text) else super()._grammars

    async def _ask(
        self, order: WriteOrder, most: int, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        dialect = await self._dialect(order)
        if dialect is None:
            yield Written((), End.DEADLINE)
            return
        dialect.check(order)
        is_typed = order.form is not None
        if self._answering is not None and self._answering.is_typed is not is_typed:
            self._drop_answer()
        answering = self._answering or self._answered(dialect, order, most)
        self._answering, end = None, None
        try:
            while end is None:
                try:
                    written, refuses = await self._next(answering, order, most, refused)
                except ModelCallError:
                    if _keeps_all(order) and (rest := answering.rest(most)):
                        self._saw(rest)
                        yield Written(rest)
                    raise
                end, most = written.end, most - len(written.token_ids)
                if end is End.LENGTH and answering.goes_on and (dialect.ahead_tokens or is_typed):
                    self._answering = answering
                yield written
                if refuses:
                    return
            if end not in (End.DEADLINE, End.WATCH) and not answering.goes_on:
                self._count_read(answering, await answering.settle())
        finally:
            if self._answering is not answering:
                await answering.call.ended()

    async def _scored(
        self, prompts: Sequence[Sequence[int]], asked: Asked, wanted: Wanted
    ) -> list[Scores]:
        asks_again = self._failover(Sampling())
        while True:
            try:
                dialect = await self._dialect()
                assert dialect is not None, "there is no deadline"
                call = self._call(dialect.scoring(prompts, asked, wanted.forbidden))
                try:
                    codec = self._model.codec
                    found = await read_scores(call, codec, len(prompts), asked.tokens)
                    forbidden = wanted.forbidden
                    return await sharpened(self._call, dialect, codec, prompts, found, forbidden)
                finally:
                    await call.ended()
            except ModelCallError as error:
                if not asks_again(error):
                    raise

    def _draft_starter(self, token_id: int, most: int) -> Callable[[], DraftRequest] | None:
        dialect = self._model.dialect
        question = dialect.lookahead(self._ids, token_id, most) if dialect is not None else None
        return None if question is None else partial(self._start_draft, question, token_id)

    def _start_draft(self, question: Question, token_id: int) -> DraftRequest:
        call = self._call(question)
        return DraftRequest(partial(read_draft, call, self._model.codec, token_id), call.end)

    def _prefill_starter(self) -> Callable[[], Callable[[], None]] | None:
        dialect = self._model.dialect
        question = dialect.prefill(self._ids) if dialect is not None else None
        return None if question is None else lambda: self._call(question).end

    def _ban_ignored(self, order: WriteOrder) -> Exception:
        ignored = "the answer's form" if order.only else "logit_bias"
        return UnreadableError(
            f"writes a token that was ruled out by {ignored}, which the server ignores; use one "
            "that heeds it, such as vLLM or llama.cpp",
            lasting=True,
        )

    @property
    def _is_alive(self) -> bool:
        return self._works

    def _failover(self, sampling: Sampling) -> Callable[[ModelCallError], bool]:
        failures = 0

        def asks_again(error: ModelCallError) -> bool:
            nonlocal failures
            if self._learns(error, sampling):
                return True
            if isinstance(error.__cause__, MisfitError):
                self._misfits += 1
                return self._misfits == 1 and not error.__cause__.lasting
            failures += 1
            replicas = self._model.replicas
            return error.retryable and failures < len(replicas.all) and replicas.one_is_ready

        return asks_again

    def _learns(self, error: ModelCallError, sampling: Sampling) -> bool:
        """Return whether a refusal says how to ask, so that asking again may do."""
        dialect = self._model.dialect
        if dialect is not None and dialect.adapts(error):
            return True
        if (call := self._last_call) is None:
            return False
        if call.learns(error):
            self._model.check_taken(call.missing, sampling)
            return True
        return self._room_left.learns(call, error)

    def _answered(self, dialect: Dialect, order: WriteOrder, most: int) -> Answering:
        """Ask for the sequence to be continued; raise ModelCallError if there is no room."""
        is_typed = order.form is not None
        self._last = self._model.replicas.choose(self._last)
        self._room_left.read_tokens = len(self._ids) + dialect.added_tokens(len(self._ids))
        wanted_tokens = max(most, ANSWER_TOKENS if is_typed else dialect.ahead_tokens)
        wanted = Continuation(
            self._prompt,
            self._ids[self._prompt_tokens :],
            order,
            self._room_left.fitting(wanted_tokens, self._last),
        )
        call = self._call(dialect.question(wanted), self._last)
        wished = settings_of(order, self._model.default_sampling)
        self.left_out |= {str(one) for one in call.missing if one.name in wished}
        return Answering(call, dialect.answer(wanted), self.unread, is_typed=is_typed)

    async def _next(
        self, answering: Answering, order: WriteOrder, most: int, refused: list[int]
    ) -> tuple[Written, bool]:
        """Return what comes next, and whether a token behind it is refused.

        It has an end where the deadline or the answer's end comes.
        """
        limit_s = _sooner_s(left_s(order), answering.call.patience_s)
        try:
            written, part, found = await self._in_time(
                self._known_next(answering, order, most), limit_s
            )
        except TimeoutError:
            if not is_late(order):
                raise answering.call.stalled() from None
            rest = answering.rest(most) if _keeps_all(order) else ()
            self._saw(rest)
            return Written(rest, End.DEADLINE), False
        self._works = bool(part.thought) or answering.is_typed or not part.is_news
        refuses = False
        if not _keeps_all(order):
            try:
                scores = scores_in(part, written, asked_by(order.watch), self._model.codec, found)
                written, refuses = self._judged(order, written, scores, refused)
            except UnreadableError as error:
                raise answering.unreadable(error) from error
        self._saw(written.token_ids)
        return written, refuses

    def _judged(
        self, order: WriteOrder, written: Written, scores: Sequence[Scores], refused: list[int]
    ) -> tuple[Written, bool]:
        if order.guide is None or not isinstance(self._model.dialect, Chat):
            return super()._judged(order, written, scores, refused)
        if order.form is not None:
            # It is known to fit.
            return written, False
        return up_to_answer(order.guide, self._reply, written, self._model), False

    async def _known_next(
        self, answering: Answering, order: WriteOrder, most: int
    ) -> tuple[Written, Part, dict[int, Scores]]:
        """Return what comes next, its event, and by place the scores that the event lacks.

        They are asked for: a server of text says nothing of tokens that end within a character.
        """
        written, part = await answering.next(most)
        asked, tokens = asked_by(order.watch), written.tokens
        dialect, codec = self._model.dialect, self._model.codec
        if not (asked and tokens and isinstance(dialect, Text)):
            return written, part, {}
        missing = [at for at in range(len(tokens)) if at >= len(part.top) or part.top[at] is None]
        prompts = [[*self._ids, *tokens[:at]] for at in range(len(tokens))]
        found = dict[int, Scores]()
        if missing:
            scored = await self._scored([prompts[at] for at in missing], asked, Wanted())
            found = dict(zip(missing, scored, strict=True))
        if asked.spread:
            try:
                scores = scores_in(part, written, asked, codec, found)
            except UnreadableError as error:
                raise answering.unreadable(error) from error
            forbidden = order.forbidden
            sharper = await sharpened(self._call, dialect, codec, prompts, scores, forbidden)
            found = dict(enumerate(sharper))
        return written, part, found

    async def _in_time(self, doing: Awaitable[_T], limit_s: float) -> _T:
        """Await; raise TimeoutError when the time is up, SessionError if this was closed."""
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
        """Return the dialect of the server; None if the deadline comes before it is found."""
        if (known := self._model.dialect) is not None:
            return known
        self._last = self._model.replicas.choose(self._last)
        limit_s = self._last.server.read_s
        order_s = None if order is None else left_s(order)
        try:
            return await self._in_time(
                self._model.find_dialect(self._last), _sooner_s(order_s, limit_s)
            )
        except TimeoutError:
            if order is not None and is_late(order):
                return None
            self._last.failed()
            raise self._last.server.stalled() from None

    def _call(self, question: Question, replica: Replica | None = None) -> Call:
        """Send a question to the server that is best to be asked."""
        self.requests += 1
        self._last = replica or self._model.replicas.choose(self._last)
        self._last_call = Call(self._last, question)
        return self._last_call

    def _drop_answer(self) -> None:
        """End an answer: the sequence continues in another way."""
        if self._answering is not None:
            self._answering.call.end()
            self._answering = None

    def _count_read(self, answering: Answering, usage: Usage | None) -> None:
        """Correct the tokens read to those that the server says it read, if it does."""
        if usage is not None:
            self.read += usage.read - answering.unread


def _keeps_all(order: WriteOrder) -> bool:
    """Return whether tokens are kept without a look at them."""
    return order.watch is None and order.guide is None


def _sooner_s(order_s: float | None, limit_s: float) -> float:
    return limit_s if order_s is None else min(order_s, limit_s)

"""Models behind OpenAI-compatible servers: sessions over `/completions`, token ids both ways.

A session here is its token ids alone. The server's prefix cache takes the place of a KV cache, so
what was cut off costs nothing, and every order is one request of its own.
"""

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from splitreason_integrations.backends.base import (
    Codec,
    End,
    Verdict,
    Watch,
    WriteOrder,
    Written,
)
from splitreason_integrations.backends.openai_server_call import Call
from splitreason_integrations.backends.openai_server_http import Server
from splitreason_integrations.backends.openai_server_wire import (
    Part,
    Received,
    UnreadableError,
    completion,
    scoring,
)
from splitreason_integrations.errors import RequestError, SessionError
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.terms import Prices

_PROMPTS_AT_ONCE = 256


class ServerModel:
    """A model behind a server. `vocabulary` is how many token ids it may answer with."""

    def __init__(
        self,
        server: Server,
        codec: Codec,
        *,
        model: str,
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
        self.remote = True
        self.context_tokens = context_tokens
        self.default_sampling = default_sampling or Sampling(temperature=0.0)
        self.vocabulary = vocabulary
        self.server = server
        self.model = model
        self._sessions: weakref.WeakSet[ServerSession] = weakref.WeakSet()

    @property
    def open_sessions(self) -> int:
        """How many sessions may still ask the server for something."""
        return sum(session.is_open for session in self._sessions)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> "ServerSession":
        """Start a session with a prompt, and what stands behind it; nothing is asked yet."""
        session = ServerSession(self, prompt, written)
        self._sessions.add(session)
        return session


class ServerSession:
    """One sequence, as ids. `requests` counts what was asked of the server for it."""

    def __init__(
        self, model: ServerModel, prompt: Sequence[int], written: Sequence[int] = ()
    ) -> None:
        if not prompt:
            raise SessionError("a session needs a prompt of at least one token")
        self._model = model
        self._ids = [*prompt, *written]
        self._prompt_tokens = len(prompt)
        self._seen = 0
        self._waiting: asyncio.Timeout | None = None
        self.is_open = True
        self.read = 0
        self.requests = 0

    @property
    def token_ids(self) -> Sequence[int]:
        """The sequence, the prompt included."""
        return self._ids

    @property
    def length(self) -> int:
        """Tokens in the sequence, the prompt included."""
        return len(self._ids)

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that the server has not been sent yet."""
        return len(self._ids) - self._seen

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is sent until they are needed."""
        self._check_open()
        self._ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Cut the sequence to `length` tokens."""
        self._check_open()
        if not self._prompt_tokens <= length <= len(self._ids):
            raise SessionError(
                f"cannot cut to {length} tokens: the session has {len(self._ids)}, "
                f"{self._prompt_tokens} of them its prompt"
            )
        del self._ids[length:]
        self._seen = min(self._seen, length)

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator ends the request at once."""
        self._check_open()
        self._check_can(order)
        left, refused, end = order.max_tokens, list[int](), None
        while end is None:
            most = min(left, self._model.context_tokens - len(self._ids))
            if most <= 0 or _is_late(order):
                yield Written((), End.LENGTH if most <= 0 else End.DEADLINE)
                return
            # Where a token was refused, another one is drawn in its place before all goes on.
            asked = replace(order, forbidden=(*order.forbidden, *refused))
            async with aclosing(self._ask(asked, 1 if refused else most, refused)) as answer:
                async for written in answer:
                    left -= len(written.token_ids)
                    redrawn = written.end is End.LENGTH and left > 0
                    end = None if redrawn else written.end
                    if written.token_ids or end:
                        yield replace(written, end=end)

    async def read_probabilities(self, token_id: int, *, last: int | None = None) -> list[float]:
        """Read what is pending; return P(`token_id`) after each of it, or after the `last` of it.

        One request with a prompt for each of these places; raises ModelCallError.
        """
        self._check_open()
        model, length = self._model, len(self._ids)
        places = range(length + 1 - min(last or length, max(1, self.unread)), length + 1)
        chances: list[float] = []
        for start in range(0, len(places), _PROMPTS_AT_ONCE):
            prompts = [self._ids[:at] for at in places[start : start + _PROMPTS_AT_ONCE]]
            self.requests += 1
            call = Call(model.server, scoring(model.model, prompts, token_id))
            try:
                chances += await self._scored(call, len(prompts), token_id)
            finally:
                await call.ended()
        self._saw(())
        return chances

    def close(self) -> None:
        """End what is being asked of the server; nothing can be asked any more."""
        self.is_open = False
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    async def _ask(
        self, order: WriteOrder, most: int, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        """Yield what comes for one request, up to its end or to a token that is refused."""
        model, sent = self._model, tuple(self._ids)
        received = Received(
            model.codec,
            vocabulary=model.vocabulary,
            sequence=sent,
            order=order,
            max_tokens=most,
        )
        position = len(sent) - self._prompt_tokens
        body = completion(model.model, sent, order, max_tokens=most, position=position)
        self.requests += 1
        call, end = Call(model.server, body), None
        try:
            while end is None:
                written, refuses = await self._next(call, received, order, refused)
                end = written.end
                yield written
                if refuses:
                    return
            if end not in (End.DEADLINE, End.WATCH):
                await call.settle()
        finally:
            await call.ended()

    async def _next(
        self, call: Call, received: Received, order: WriteOrder, refused: list[int]
    ) -> tuple[Written, bool]:
        """Return what comes next, and whether a token behind it is refused.

        It has an end where the deadline or the answer's end comes.
        """
        try:
            async with asyncio.timeout(_left_s(order)) as self._waiting:
                part = await call.next()
        except TimeoutError:
            self._check_open()
            return Written((), End.DEADLINE), False
        finally:
            self._waiting = None
        self._check_open()
        if part is None:
            raise self._model.server.broken("the answer ended before it was finished")
        try:
            written, refuses = received.take(part), False
            if order.watch is not None:
                written, refuses = self._judged(order.watch, written, part, refused)
        except UnreadableError as error:
            raise self._model.server.broken(str(error), retryable=not error.lasting) from error
        self._saw(written.token_ids)
        return written, refuses

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
                refused.append(token)
                return Written(tokens[:at]), True
            refused.clear()
        return written, False

    async def _scored(self, call: Call, prompts: int, token_id: int) -> list[float]:
        """Return P(`token_id`) behind each prompt, in the prompts' order."""
        found: dict[int, float] = {}
        while (part := await call.next()) is not None:
            self._check_open()
            if not part.top or part.index in found:
                continue
            try:
                found[part.index] = part.chances(self._model.codec, token_id)[0]
            except UnreadableError as error:
                raise self._model.server.broken(str(error)) from error
        if sorted(found) != list(range(prompts)):
            raise self._model.server.broken(
                "does not tell the log probability behind every prompt; use a server that knows "
                "logprob_token_ids, such as vLLM"
            )
        return [found[index] for index in range(prompts)]

    def _saw(self, token_ids: Sequence[int]) -> None:
        """Note that the server has read the sequence and written these tokens behind it."""
        self.read += self.unread
        self._ids += token_ids
        self._seen = len(self._ids)

    def _check_can(self, order: WriteOrder) -> None:
        if order.guide is not None or (order.watch is not None and order.watch.wants_entropy):
            raise RequestError(
                f"{self._model.name}: a model behind a server can neither keep an answer to a form "
                "nor tell entropies; that takes a model in this process"
            )

    def _check_open(self) -> None:
        if not self.is_open:
            raise SessionError("the session is closed; open a new one")


def _left_s(order: WriteOrder) -> float | None:
    return None if order.deadline_s is None else order.deadline_s - time.monotonic()


def _is_late(order: WriteOrder) -> bool:
    left_s = _left_s(order)
    return left_s is not None and left_s <= 0

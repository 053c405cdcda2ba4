"""Models behind OpenAI-compatible servers: sessions over `/completions`, token ids both ways.

A session here is its token ids alone. The server's prefix cache takes the place of a KV cache, so
what was cut off costs nothing, and every order is one request of its own.
"""

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Sequence

from splitreason_integrations.backends.base import Codec, End, WriteOrder, Written
from splitreason_integrations.backends.openai_server_call import Call
from splitreason_integrations.backends.openai_server_http import Server
from splitreason_integrations.backends.openai_server_wire import (
    Received,
    UnreadableError,
    completion,
)
from splitreason_integrations.errors import RequestError, SessionError
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.terms import Prices


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
        model, sent = self._model, tuple(self._ids)
        most = min(order.max_tokens, model.context_tokens - len(sent))
        left_s = _left_s(order.deadline_s)
        if most <= 0 or (left_s is not None and left_s <= 0):
            yield Written((), End.LENGTH if most <= 0 else End.DEADLINE)
            return
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
        call, written = Call(model.server, body), Written(())
        try:
            while written.end is None:
                written = await self._next(call, received, order.deadline_s)
                if written.token_ids or written.end:
                    yield written
            if written.end is not End.DEADLINE:
                await call.settle()
        finally:
            await call.ended()

    async def read_probabilities(self, token_id: int) -> list[float]:
        """Raise RequestError: a server is asked to write alone."""
        raise RequestError(
            f"{self._model.name}: a model behind a server cannot read along; let it be the large "
            "model, beside a small one in this process"
        )

    def close(self) -> None:
        """End what is being asked of the server; nothing can be asked any more."""
        self.is_open = False
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    async def _next(self, call: Call, received: Received, deadline_s: float | None) -> Written:
        """Return what comes next, with an end where the deadline or the answer's end does."""
        try:
            async with asyncio.timeout(_left_s(deadline_s)) as self._waiting:
                part = await call.next()
        except TimeoutError:
            self._check_open()
            return Written((), End.DEADLINE)
        finally:
            self._waiting = None
        self._check_open()
        if part is None:
            raise self._model.server.broken("the answer ended before it was finished")
        try:
            written = received.take(part)
        except UnreadableError as error:
            raise self._model.server.broken(str(error), retryable=not error.lasting) from error
        self.read += self.unread
        self._ids += written.token_ids
        self._seen = len(self._ids)
        return written

    def _check_can(self, order: WriteOrder) -> None:
        if order.guide is not None or order.watch is not None:
            raise RequestError(
                f"{self._model.name}: a model behind a server can neither keep an answer to a form "
                "nor be watched token by token; that takes a model in this process"
            )

    def _check_open(self) -> None:
        if not self.is_open:
            raise SessionError("the session is closed; open a new one")


def _left_s(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else deadline_s - time.monotonic()

"""Sequences of a model in this process.

One thread a model does its forward passes, a short slice at a time, so that requests share a
model fairly and never its caches.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import torch

from splitreason_integrations.backends.base import (
    End,
    TokenFacts,
    Wanted,
    WriteOrder,
    Written,
)
from splitreason_integrations.backends.hf.cache import KVCache
from splitreason_integrations.backends.hf.choice import Choice
from splitreason_integrations.backends.hf.facts import facts_of
from splitreason_integrations.backends.hf.penalties import Penalties
from splitreason_integrations.backends.sequence import TokenSequence
from splitreason_integrations.backends.worker import Worker
from splitreason_integrations.decide.resilience import is_retryable
from splitreason_integrations.errors import ModelCallError, SessionError, SplitReasonError

SLICE_S = 0.03
"""How long a session may hold its model's thread before it streams and lets others in."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slice:
    """What a session wrote since the last slice, and whether it lets others in now."""

    written: Written
    gives_way: bool


class Network(Protocol):
    """What a session needs of its model."""

    name: str
    context_tokens: int
    worker: Worker

    def new_cache(self) -> KVCache:
        """Return an empty cache of one sequence."""
        ...

    def forward(self, token_ids: Sequence[int], cache: KVCache, *, last: int) -> torch.Tensor:
        """Return logits (tokens, vocabulary) of the next tokens: the `last` rows, or all if 0."""
        ...

    def mask(self, forbidden: tuple[int, ...]) -> torch.Tensor:
        """Return the index of forbidden tokens."""
        ...


class HFSession(TokenSequence):
    """One sequence and its KV cache.

    Attributes:
        passes: how many forward passes were made for it.

    """

    def __init__(self, model: Network, prompt: Sequence[int], written: Sequence[int] = ()) -> None:
        super().__init__(prompt, written)
        self._model = model
        self._cache: KVCache | None = model.new_cache()
        self._penalties = Penalties(len(prompt))
        self._own_pending = 0
        self._next: torch.Tensor | None = None
        self._busy = False
        # A pass may still run when a reader has left: what it gives is dropped if the sequence has
        # changed since the work that it belongs to was asked for.
        self._lock = threading.Lock()
        self._changes = self._at_work = 0
        self.passes = 0

    @property
    def holds_cache(self) -> bool:
        """Whether the session still has its cache."""
        return self._cache is not None

    @property
    def _cached(self) -> int:
        return self._cache.length if self._cache is not None else 0

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that have not been through the model yet."""
        return len(self._ids) - self._cached - self._own_pending

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is computed until they are needed."""
        self._check_open()
        if token_ids:
            with self._lock:
                self._changes += 1
                self._ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Cut the sequence and its cache to `length` tokens."""
        self._check_cut(length)
        if length == len(self._ids):
            return
        with self._lock:
            self._changes += 1
            del self._ids[length:]
            self._crop(length)
            self._own_pending = min(self._own_pending, length - self._cached)

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator stops the model."""
        self._check_open()
        loop = asyncio.get_running_loop()
        slices: asyncio.Queue[Slice | Exception] = asyncio.Queue()
        room = self._model.context_tokens - len(self._ids)
        left, stop, since = min(order.max_tokens, room), threading.Event(), self._changes

        def post(one: Slice | Exception) -> None:
            loop.call_soon_threadsafe(slices.put_nowait, one)

        def submit() -> Future[None]:
            return self._model.worker.submit(
                partial(self._write_slices, order, left, since, stop, post)
            )

        job, ended = submit(), False
        try:
            while not ended:
                one = await slices.get()
                if isinstance(one, Exception):
                    raise one
                left -= len(one.written.token_ids)
                ended = one.written.end is not None
                yield one.written
                if one.gives_way:
                    job = submit()
        finally:
            stop.set()
            job.cancel()
            # Not once it has ended: its reader may have gone on before leaving this.
            if not ended:
                with self._lock:
                    self._changes += 1

    async def read_facts(
        self, wanted: Wanted, *, last: int | None = None, spare: int = 0
    ) -> list[TokenFacts]:
        """Read what is pending in one pass; return facts of each token, or of the `last` ones."""
        self._check_open()
        work = partial(self._read_facts, wanted, last, spare)
        job = self._model.worker.submit(partial(self._guarded, work, self._changes))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Free the cache, at the end of the running step at the latest."""
        self.is_open = False
        if not self._busy:
            self._cache = self._next = None

    def _guarded(self, work: Callable[[], _T], since: int) -> _T:
        """Do work on the model's thread; free the cache after it if the session was closed.

        `since` is how often the sequence had changed when the work was asked for.
        """
        self._check_open()
        self._busy, self._at_work = True, since
        try:
            return work()
        except torch.OutOfMemoryError as error:
            raise ModelCallError(
                f"{self._model.name} ran out of memory: {error}", retryable=True
            ) from error
        except SplitReasonError:
            raise
        except Exception as error:  # whatever torch and a model's own code raise
            # Logged as well: a large model that fails costs a span, and the answer goes on.
            _log.exception("%s failed", self._model.name)
            raise ModelCallError(
                f"{self._model.name} failed: {type(error).__name__}: {error}",
                retryable=is_retryable(error),
            ) from error
        finally:
            self._busy = False
            if not self.is_open:
                self._cache = self._next = None

    def _write_slices(
        self,
        order: WriteOrder,
        left: int,
        since: int,
        stop: threading.Event,
        post: Callable[[Slice | Exception], None],
    ) -> None:
        """Post slices until the order is done, or until another request wants the model."""
        ids: list[int] = []

        def work() -> Slice:
            rest = left
            while True:
                ids.clear()
                self._check_open()
                end, stop_token = self._write_slice(order, rest, stop, ids)
                rest -= len(ids)
                gives_way = end is None and self._model.worker.wanted
                one = Slice(Written(tuple(ids), end, stop_token), gives_way)
                if gives_way or end is not None or stop.is_set():
                    return one
                post(one)

        try:
            post(self._guarded(work, since))
        except Exception as error:  # noqa: BLE001 - handed to the request that waits for it
            post(Slice(Written(tuple(ids)), gives_way=False))
            post(error)

    def _write_slice(
        self, order: WriteOrder, left: int, stop: threading.Event, ids: list[int]
    ) -> tuple[End | None, int | None]:
        """Write into `ids` for a slice's time; return why the writing ended, if it did."""
        started = time.monotonic()
        while len(ids) < left and self.is_open and not stop.is_set():
            now = time.monotonic()
            if order.deadline_s is not None and now >= order.deadline_s:
                return End.DEADLINE, None
            if now - started > SLICE_S:
                break
            token = self._choose(order)
            if token is None:
                return End.WATCH, None
            if token in order.stop_tokens:
                return End.STOP_TOKEN, token
            with self._lock:
                self._check_unchanged()
                self._ids.append(token)
                self._own_pending = 1
            ids.append(token)
        return (None if len(ids) < left else End.LENGTH), None

    def _choose(self, order: WriteOrder) -> int | None:
        """Return the next token, or None where the watch stops the writing."""
        own = self._next if self._cached == len(self._ids) else None
        if own is None:
            own = self._read(last=1)[-1]
        logits = own
        if order.guide is not None:
            logits = order.guide.restrict(logits, self._ids[self._prompt_tokens :])
        if order.sampling.penalties:
            logits = self._penalties.apply(logits, order.sampling, self._ids)
        choice = Choice(order, own, logits, index=self._position, mask=self._model.mask)
        return choice.token()

    def _read_facts(self, wanted: Wanted, last: int | None, spare: int) -> list[TokenFacts]:
        pending = max(1, len(self._ids) - self._cached)
        count = min(last or pending, pending)
        behind = self._keep_logits_before(pending) if wanted.own else None
        rows = self._read(last=count + wanted.own)
        before = None
        if wanted.own:
            rows = rows if behind is None else torch.cat((behind[None], rows))
            before = rows[-count - 1 : -1]
            before = before[: len(before) - spare]
        tokens = self._ids[len(self._ids) - count :][: count - spare]
        return facts_of(
            wanted,
            tokens,
            before=before,
            after=rows[-count:][: count - spare],
            without=self._model.mask(wanted.forbidden) if wanted.forbidden else None,
        )

    def _keep_logits_before(self, pending: int) -> torch.Tensor | None:
        """Return the logits from which the first pending token is drawn.

        Where they are not known, the token before it becomes pending, too: None then.
        """
        first = len(self._ids) - pending
        if self._next is not None and self._cached == first:
            return self._next
        with self._lock:
            self._check_unchanged()
            surplus = self._cached - max(0, first - 1)
            self._crop(max(0, first - 1))
            self._own_pending += surplus
        return None

    def _read(self, *, last: int) -> torch.Tensor:
        """Read what is pending; return logits of the `last` tokens at least, or of all if 0."""
        cache = self._cache
        if cache is None:
            raise SessionError("the session is closed")
        with self._lock:
            self._check_unchanged()
            if self._cached == len(self._ids):
                self._crop(len(self._ids) - 1)
                self._own_pending = 1
            self.read += self.unread
            cache.cut()
            pending = self._ids[self._cached :]
        logits = self._model.forward(pending, cache, last=last)
        with self._lock:
            self._check_unchanged()
            cache.length += len(pending)
            self.passes += 1
            self._own_pending = 0
            self._next = logits[-1]
        return logits

    def _check_unchanged(self) -> None:
        """Raise SessionError where others changed the sequence; they cannot under the lock."""
        if self._changes != self._at_work:
            raise SessionError("the sequence was changed while its model was at work on it")

    def _crop(self, length: int) -> None:
        self._next = None
        if self._cache is not None and self._cached > length:
            self._cache.length = length

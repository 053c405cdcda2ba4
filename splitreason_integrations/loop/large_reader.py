"""The large model reads along what the small one writes, and finds where a span opens.

It never decodes: a pass over a chunk tells what it gives each token. A token is shown once it was
read. Where the trigger fires, the large model's session is cut before that token.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import anyio

from splitreason_integrations.backends.base import TokenFacts, Wanted
from splitreason_integrations.decide.machine import LargeRead
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.errors import CircuitOpenError, ModelStalledError
from splitreason_integrations.loop.bridge import Converted
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.loop.trigger_watch import TriggerWatch

FIRED = "trigger"
"""How a writing of the small model ends where the trigger fires once the large one has read."""


class LargeReader:
    """The large model's reading during one writing of the small model.

    Args:
        state: the request's state.
        watch: knows of each token what the trigger needs besides.

    Attributes:
        reads: whether the large model's session holds what was kept of this writing.
        length: tokens of the large model's session that are known to be right.
        span_tokens: exact length of the span that is to open; None for none.

    """

    def __init__(self, state: RequestState, watch: TriggerWatch) -> None:
        self._state = state
        self._watch = watch
        self._first = state.small.session.length - state.small.prompt_tokens
        self._converted_tokens = 0
        self._unread: tuple[int, ...] = ()
        self._undecided: list[TokenFacts] = []
        large = state.large_model
        self.reads = False
        self.length = large.session.length if large is not None and large.is_open else 0
        self.span_tokens: int | None = None

    async def read(
        self, chunk: Sequence[int], ended_by: str | None, *, is_last: bool
    ) -> tuple[int, str | None]:
        """Have the large model read a chunk of the small model's tokens.

        Args:
            chunk: tokens in the small model's vocabulary; those that were not kept of the chunk
                before come first.
            ended_by: how the small model ended its writing after the chunk; None where it did not.
            is_last: whether nothing comes after the chunk.

        Returns:
            How many of the tokens are kept, and what ended the writing: FIRED, or `ended_by`.

        """
        state = self._state
        if not self._may_read(len(chunk) - self._converted_tokens):
            return self._unread_chunk(chunk, ended_by)
        self._sync()
        bridge = state.large.bridge_from(state.small.codec)
        converted = bridge.convert_chunk(chunk, known=self._converted_tokens, whole=is_last)
        state.large.session.extend(converted.token_ids)
        self._unread += converted.token_ids
        if not converted.boundaries:
            self._converted_tokens = len(chunk)
            return 0, ended_by
        new = await self._facts()
        if new is None:
            return self._unread_chunk(chunk, ended_by)
        facts, self._undecided, self._unread = [*self._undecided, *new], [], ()
        breaker_of(state.large.model, state.settings.retry).succeeded()
        return self._decided(chunk, converted, facts, ended_by)

    def leave(self) -> None:
        """Cut off what the large model has read of text that is not kept, where it goes on."""
        large = self._state.large_model
        if self.reads and large is not None and large.is_open:
            large.cut(self.length)
            large.forget_surplus()
        self._converted_tokens, self._unread, self._undecided = 0, (), []

    def _unread_chunk(self, chunk: Sequence[int], ended_by: str | None) -> tuple[int, str | None]:
        """Keep a chunk that the large model does not read: caps or the deadline forbid it."""
        self.leave()
        self.reads = False
        return len(chunk), ended_by

    def _may_read(self, new: int) -> bool:
        """Return whether caps, and what has failed so far, let the large model read on."""
        state = self._state
        if state.large_model is None:
            return False
        unread = new + (0 if self.reads else state.large.unread_tokens(state.transcript.pieces))
        room = state.large.room(state.transcript.pieces) - new
        return room > 0 and state.machine.may_read(unread)

    def _sync(self) -> None:
        """Bring the large model's session up to the reply so far, before the first chunk."""
        if self.reads:
            return
        large = self._state.large
        if not breaker_of(large.model, self._state.settings.retry).admits():
            raise CircuitOpenError(f"{large.model.name} failed too often lately")
        large.sync(self._state.transcript.pieces)
        self.reads, self.length = True, large.session.length

    async def _facts(self) -> list[TokenFacts] | None:
        """Return what the large model gives the tokens that it has not read yet.

        None where the request's deadline comes first. Raises ModelStalledError.
        """
        state, count = self._state, len(self._unread)
        if not count:
            return []
        session, before = state.large.session, state.large.read_tokens
        wanted = Wanted(own=True, forbidden=state.large.tags.control_tokens)
        deadline_s, stall_s = state.deadline_s, state.settings.retry.stall_s
        left_s = math.inf if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        limit_s = left_s if stall_s is None else min(left_s, stall_s)
        try:
            with anyio.move_on_after(limit_s):
                return await session.read_facts(wanted, last=count)
        finally:
            state.machine.note(LargeRead(state.large.read_tokens - before))
        if limit_s == left_s:
            return None
        raise ModelStalledError(f"{state.large.model.name} read no chunk in {limit_s:.1f} s")

    def _decided(
        self,
        chunk: Sequence[int],
        converted: Converted,
        facts: Sequence[TokenFacts],
        ended_by: str | None,
    ) -> tuple[int, str | None]:
        """Return what of a chunk is kept, now that the large model has read it."""
        large, known = self._state.large, len(facts) - len(converted.token_ids)
        mine_before = theirs_before = 0
        for mine, theirs in converted.boundaries:
            unit = facts[theirs_before : known + theirs]
            at = self._fires(range(mine_before, mine), unit)
            if at is not None:
                large.cut(self.length + theirs_before)
                self.length += theirs_before
                large.forget_surplus()
                self._converted_tokens = 0
                return mine_before, FIRED
            mine_before, theirs_before = mine, known + theirs
        self._first += mine_before
        self.length += theirs_before
        self._undecided = list(facts[theirs_before:])
        self._converted_tokens = len(chunk) - mine_before
        return mine_before, ended_by

    def _fires(self, unit: range, facts: Sequence[TokenFacts]) -> int | None:
        """Return the first token of a unit at which the trigger fires.

        Between different tokenizers a unit has several tokens of each: what the large model gives
        the least likely of its own counts for all.
        """
        probability = min((one.probability for one in facts), default=1.0)
        likeliest = all(one.likeliest for one in facts)
        for token in unit:
            at = self._watch.positions.get(self._first + token)
            if at is None:
                continue
            known = replace(at, large_probability=probability, large_likeliest=likeliest)
            if self._state.settings.trigger.fires(known):
                self.span_tokens = self._state.settings.trigger.span_tokens(known)
                return token
        return None

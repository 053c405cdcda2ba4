"""Sessions of a scripted model."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from splitreason_integrations.backends.base import (
    End,
    TokenFacts,
    Verdict,
    Wanted,
    Watch,
    WriteOrder,
    Written,
)
from splitreason_integrations.backends.sequence import TokenSequence
from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.tags import tags_of


class Script(Protocol):
    """What a session needs of its model."""

    codec: Codec
    close_probability: Callable[[str], float]
    reading: Callable[[str, str], float]
    entropy: Callable[[str], float]
    fail_after: int | None
    error: Exception
    delay_s: float
    slice_tokens: int
    passes: int

    def forget(self, session: "ScriptedSession") -> None:
        """Let a session go."""
        ...


class ScriptedSession(TokenSequence):
    """One sequence of a scripted model; `passes` counts the forward passes it stands for.

    The script goes on from where it was: the other author's tokens do not move it. A tag is passed
    when the engine appends it, tokens that are cut off are written again.
    """

    def __init__(
        self,
        model: Script,
        prompt: Sequence[int],
        script: list[int],
        written: Sequence[int] = (),
        *,
        like: "ScriptedSession | None" = None,
    ) -> None:
        super().__init__(prompt, written)
        self._model = model
        self.script = script
        self._at = self._seen = self._written = self.passes = 0
        self._places: list[int | None] = [None] * len(self._ids)
        self.prompt = tuple(prompt)
        tags = tags_of(model.codec, as_text=True)
        self._tags = (tags.open_tokens, tags.close_tokens)
        self._end = min(model.codec.end_tokens)
        if like is None:
            self._pass_written(written)
        else:
            self._places, self._at = list(like._places), like._at
            self._cut_places(len(self._ids))

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that have not been through the model yet."""
        return self._places[self._seen :].count(None)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; a tag that comes next in the script counts as written."""
        self._check_open()
        if tuple(token_ids) in self._tags:
            self._pass_tag(list(token_ids))
        self._ids += token_ids
        self._places += [None] * len(token_ids)

    def _pass_tag(self, tag: list[int]) -> None:
        # A tag of several tokens may have been cut off but for its first ones, a space perhaps.
        for start in range(self._at, max(-1, self._at - len(tag)), -1):
            if self.script[start : start + len(tag)] == tag:
                self._at = start + len(tag)
                return

    def _pass_written(self, written: Sequence[int]) -> None:
        """Move behind the model's own tokens: those within spans are the large model's.

        A tag that the script has and the text has not was refused. Tags are single tokens here.
        """
        (opening, *_), (closing, *_) = self._tags
        is_small, within = opening in self.script, False
        for at, token in enumerate(written, self._prompt_tokens):
            is_tag = token in (opening, closing)
            if is_tag or within != is_small:
                self._pass_one(token, at=None if is_tag else at)
            within = token == opening or (within and token != closing)

    def _pass_one(self, token: int, *, at: int | None) -> None:
        """Move behind a token that comes next but for tags; `at` is the place of an own one."""
        for place in range(self._at, len(self.script)):
            if self.script[place] == token:
                self._at = place + 1
                if at is not None:
                    self._places[at] = place
                return
            if (self.script[place],) not in self._tags:
                return

    def truncate(self, length: int) -> None:
        """Cut the sequence to `length` tokens; the script goes back over its own among them."""
        self._check_cut(length)
        del self._ids[length:]
        self._cut_places(length)
        self._seen = min(self._seen, length)

    def _cut_places(self, length: int) -> None:
        own = [place for place in self._places[length:] if place is not None]
        if own:
            self._at = own[0]
        del self._places[length:]

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Write the script; the last item has an `end`."""
        left = order.max_tokens
        while True:
            self._check_open()
            written = await self._write_slice(order, min(left, self._model.slice_tokens))
            left -= len(written.token_ids)
            if written.end is None and left == 0:
                written = Written(written.token_ids, End.LENGTH)
            yield written
            if written.end is not None:
                return
            if self._fails_now:
                raise self._model.error

    async def read_facts(
        self, wanted: Wanted, *, last: int | None = None, spare: int = 0
    ) -> list[TokenFacts]:
        """Read what is pending in one pass; return facts of each of those tokens."""
        self._check_open()
        await asyncio.sleep(0)
        first = max(min(self._seen, len(self._ids) - 1), len(self._ids) - (last or len(self._ids)))
        self._pass()
        ends = range(first + 1, len(self._ids) + 1 - spare)
        return [self._facts(wanted, at) for at in ends]

    def _facts(self, wanted: Wanted, at: int) -> TokenFacts:
        """Return the facts of the token that ends at a length of the sequence."""
        model, text = self._model, self._text(at)
        closing = wanted.probability_of == self._tags[1][0]
        probability = 1.0
        if wanted.own and at > self._prompt_tokens:
            token = model.codec.decode([self._ids[at - 1]])
            probability = float(model.reading(self._text(at - 1), token))
        return TokenFacts(
            float(model.close_probability(text)) if closing else 0.0,
            float(model.entropy(text)) if wanted.entropy else 0.0,
            probability,
            probability > 1 / 2,
        )

    def _text(self, length: int) -> str:
        return self._model.codec.decode(self._ids[self._prompt_tokens : length])

    def prefill(self) -> None:
        """Read what is pending in one pass, at once."""
        self._check_open()
        if self.unread:
            self._pass()

    def close(self) -> None:
        """Free the session."""
        self.is_open = False
        self._model.forget(self)

    async def _write_slice(self, order: WriteOrder, tokens: int) -> Written:
        ids: list[int] = []
        while len(ids) < tokens and not (ids and self._fails_now):
            await asyncio.sleep(self._model.delay_s)
            self._check_open()
            if order.deadline_s is not None and time.monotonic() >= order.deadline_s:
                return Written(tuple(ids), End.DEADLINE)
            if self._fails_now:
                raise self._model.error
            token = self._choose(order)
            if token is None:
                return Written(tuple(ids), End.WATCH)
            if token in order.stop_tokens:
                return Written(tuple(ids), End.STOP_TOKEN, token)
            self._append(token)
            ids.append(token)
        return Written(tuple(ids))

    @property
    def _fails_now(self) -> bool:
        return self._model.fail_after is not None and self._written >= self._model.fail_after

    def _choose(self, order: WriteOrder) -> int | None:
        """Return the script's next allowed token, or None where the watch stops the writing."""
        while True:
            token = self.script[self._at] if self._at < len(self.script) else self._end
            if token in order.forbidden:
                self._at += 1
                continue
            verdict = Verdict.KEEP if order.watch is None else self._ask(order.watch, token)
            if verdict is Verdict.KEEP:
                return token
            if verdict is Verdict.STOP:
                return None
            self._at += 1

    def _ask(self, watch: Watch, token: int) -> Verdict:
        text = self._text(self.length) if watch.wants_entropy else ""
        return watch(
            token,
            index=self._position,
            probability=float(token == watch.probability_of),
            entropy=float(self._model.entropy(text)) if watch.wants_entropy else 0.0,
            confidence=1.0,
        )

    def _append(self, token: int) -> None:
        self._pass()
        self._ids.append(token)
        self._places.append(self._at)
        self._at += 1
        self._written += 1

    def _pass(self) -> None:
        self.read += self.unread
        self._seen = len(self._ids)
        self.passes += 1
        self._model.passes += 1

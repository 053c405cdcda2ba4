"""Where a span ends: the small model reads along, one pass a chunk, and the close rule is asked.

The pass that brings the small model's cache up to date also yields what close rules need of every
token. The span is cut after the first token at which the rule holds; the rest is dropped.
"""

from collections.abc import Sequence
from dataclasses import replace

import anyio

from splitreason_integrations.backends.base import DraftsAhead, TokenFacts, Wanted
from splitreason_integrations.decide.closing import (
    TEXT_CHARACTERS,
    CloseNeeds,
    CloseRule,
    OwnToken,
    SpanPlace,
    TagClose,
)
from splitreason_integrations.decide.resilience import Attempts, Retry
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.loop.bridge import Converted
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.protocols import TextStream
from splitreason_integrations.records import Piece

_READ = CloseNeeds.CLOSE_PROBABILITY | CloseNeeds.OWN | CloseNeeds.ENTROPY


class Handback:
    """Both sessions during one span.

    Args:
        small: the model that reads along.
        large: the model that writes the span; None while none is loaded.
        close: says where the span ends; None leaves that to the large model and to caps.
        retry: how often a small model that fails is asked again.
        until_s: when the request ends, a time of `time.monotonic()`.

    """

    def __init__(
        self,
        small: Participant,
        large: Participant | None,
        close: CloseRule | None,
        retry: Retry,
        *,
        until_s: float | None = None,
    ) -> None:
        self._small = small
        self._large_model = large
        self._close = close
        self._needs = close.needs if close is not None else CloseNeeds.NOTHING
        if not small.tags:
            self._needs &= ~CloseNeeds.CLOSE_PROBABILITY
        self._retry, self._until_s = retry, until_s
        self._own: list[OwnToken] = []
        self._last_facts = TokenFacts()
        self._unread: tuple[int, ...] = ()
        self._texts_behind = [""]
        self._decided_length = 0
        self._place_at = 0
        self._stream: TextStream | None = None
        self._small_knows_end = False
        self.large_lost = False

    @property
    def _large(self) -> Participant:
        assert self._large_model is not None, "a span that has begun has a large model"
        return self._large_model

    def begin(self, text: str) -> None:
        """Show the open tag to the models that know it; `text` is the reply so far."""
        self._large.session.extend(self._large.tags.open_tokens)
        self._small.session.extend(self._small.tags.open_tokens)
        self._texts_behind, self._place_at = [text], len(text)
        self._stream = self._new_stream()
        self._decided_length = self._small.session.length
        self._look_ahead()

    def end(self) -> None:
        """Show the close tag to the models that know it."""
        if not self.large_lost:
            self._large.session.extend(self._large.tags.close_tokens)
        if not self._small_knows_end:
            rest = self._small.bridge_from(self._large.codec).rest()
            self._small.session.extend((*rest, *self._small.tags.close_tokens))
        self._small.forget_surplus()

    def drop_undecided(self) -> None:
        """Cut off what the small model has read of tokens that were not kept."""
        if len(self._texts_behind) > 1:
            self._small.session.truncate(self._decided_length)
            self._small.forget_surplus()
            self._texts_behind, self._unread = self._texts_behind[:1], ()

    def begin_again(self, small_length: int, first_piece: int, pieces: Sequence[Piece]) -> None:
        """Have the small model read the span anew, as far as it was kept.

        Args:
            small_length: tokens of its session without the span.
            first_piece: how many pieces of the reply come before the span.
            pieces: the pieces of the reply.

        """
        small = self._small
        small.cut(small_length)
        small.forget_surplus()
        small.session.extend(small.tags.open_tokens)
        small.synced_upto = first_piece
        small.sync(pieces)
        self._small_knows_end = False

    def lose_large(self) -> None:
        """Leave the large model's session as it is from now on: it has failed."""
        self.large_lost = True

    def take_over(self, large: Participant) -> None:
        """Let another large model write on, whose session holds the span so far."""
        self._large_model, self.large_lost = large, False
        self._stream = self._new_stream()

    async def read(
        self, chunk: Sequence[int], ended_by: str | None, *, is_last: bool
    ) -> tuple[int, str | None]:
        """Bring the small model up to date with a chunk of the large model's tokens.

        Args:
            chunk: tokens in the large model's vocabulary; those that were not kept of the chunk
                before come first.
            ended_by: how the large model ended the span after the chunk; None where it did not.
            is_last: whether nothing comes after the chunk.

        Returns:
            How many of the chunk's tokens are kept, and who closed the span, if anybody did.

        """
        session, tags = self._small.session, self._small.tags
        before, texts = session.length, self._texts_of(chunk)
        start = before - len(self._unread)
        bridge = self._small.bridge_from(self._large.codec)
        known = len(self._texts_behind) - 1
        converted = bridge.convert_chunk(chunk, known=known, whole=is_last)
        session.extend(converted.token_ids)
        self._unread += converted.token_ids if self._needs else ()
        if self._needs and converted.boundaries:
            behind = tags.close_tokens if ended_by is not None else ()
            session.extend(behind)
            self._small_knows_end = ended_by is not None
            at = await self._first_close(converted, texts, start, behind)
            if at is not None:
                self._texts_behind = [texts[at]]
                return at, self._name
        kept = self._decided(chunk, converted)
        self._texts_behind = texts[kept:]
        if converted.boundaries:
            self._decided_length = before + converted.boundaries[-1][1]
        if ended_by is None:
            self._look_ahead()
        return kept, ended_by

    def _decided(self, chunk: Sequence[int], converted: Converted) -> int:
        """Return after how many tokens of a chunk it is known whether the span ends there."""
        if not self._needs:
            return len(chunk)
        return converted.boundaries[-1][0] if converted.boundaries else 0

    async def _first_close(
        self, converted: Converted, texts: Sequence[str], start: int, behind: Sequence[int]
    ) -> int | None:
        """Return after how many tokens of the chunk the rule closes the span; cut it there.

        Where the large model ends it there as well, the sequence has the close tag `behind` it.
        """
        session, close, before = self._small.session, self._close, len(self._own)
        assert close is not None, "a rule that needs something is there"
        unread, self._unread = self._unread, ()
        facts = await self._facts(last=len(unread) + len(behind), spare=len(behind))
        self._own += [OwnToken(one.probability, one.likeliest) for one in facts]
        known, before_them = len(unread) - len(converted.token_ids), self._last_facts
        self._last_facts = facts[-1] if facts else before_them
        for mine, theirs in converted.boundaries:
            fact = [before_them, *facts][known + theirs if facts else 0]
            place = SpanPlace(
                close_probability=fact.next_probability,
                entropy=fact.next_entropy,
                own=self._own[: before + known + theirs],
                text=texts[mine][-TEXT_CHARACTERS:],
                new_text=texts[mine][self._place_at :],
            )
            self._place_at = len(texts[mine])
            if not close.closes(place):
                continue
            if behind and mine == len(texts) - 1:
                if not behind[1:]:
                    return mine
                continue
            session.truncate(start + known + theirs)
            if await self._confirmed(close, place):
                self._small.forget_surplus()
                self._small_knows_end = False
                return mine
            session.extend((*unread[known + theirs :], *behind))
        return None

    def _texts_of(self, chunk: Sequence[int]) -> list[str]:
        """Return the reply's end before the first token of a chunk, and after each of them."""
        texts = list(self._texts_behind)
        for token in chunk[len(texts) - 1 :] if CloseNeeds.TEXT in self._needs else ():
            assert self._stream is not None, "a span that has begun has text"
            texts.append(texts[-1] + self._stream.push(token))
        return texts + texts[-1:] * (len(chunk) + 1 - len(texts))

    def _new_stream(self) -> TextStream:
        codec = self._large.codec
        return codec.text_stream(after=codec.encode("\n")[-1:])

    def _look_ahead(self) -> None:
        session = self._small.session
        if self._needs & _READ == CloseNeeds.CLOSE_PROBABILITY and isinstance(session, DraftsAhead):
            session.look_ahead(self._small.tags.close_tokens[0])

    @property
    def _name(self) -> str:
        return "small" if isinstance(self._close, TagClose) else str(self._close)

    async def _confirmed(self, close: CloseRule, place: SpanPlace) -> bool:
        """Return whether the rule holds given the whole of a close tag of several tokens."""
        session, tag = self._small.session, self._small.tags.close_tokens
        if not tag[1:] or close.closes(replace(place, close_probability=0.0)):
            return True
        start, probability = session.length, place.close_probability
        for at, token in enumerate(tag[1:]):
            session.extend(tag[at : at + 1])
            facts = await self._read(Wanted(probability_of=token), last=1, spare=0)
            probability *= facts[0].next_probability
        session.truncate(start)
        return close.closes(replace(place, close_probability=probability))

    async def _facts(self, *, last: int, spare: int) -> list[TokenFacts]:
        """Return facts of the `last` tokens but for the `spare` very last; none if unneeded."""
        if not (last and self._needs & _READ):
            return []
        tags, needs = self._small.tags, self._needs
        reads_tag = CloseNeeds.CLOSE_PROBABILITY in needs
        wanted = Wanted(
            probability_of=tags.close_tokens[0] if reads_tag else None,
            entropy=CloseNeeds.ENTROPY in needs,
            own=CloseNeeds.OWN in needs,
            forbidden=tags.control_tokens if needs & (CloseNeeds.ENTROPY | CloseNeeds.OWN) else (),
        )
        return await self._read(wanted, last=last, spare=spare)

    async def _read(self, wanted: Wanted, *, last: int, spare: int) -> list[TokenFacts]:
        """Have the small model read; one that fails is called again, as `Retry` allows."""
        attempts = Attempts(self._retry)
        while True:
            try:
                return await self._small.session.read_facts(wanted, last=last, spare=spare)
            except ModelCallError as error:
                wait_s = attempts.note_failure(error, until_s=self._until_s)
                if wait_s is None:
                    raise
            await anyio.sleep(wait_s)

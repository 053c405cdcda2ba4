"""Carries text from one model's tokens to another's, piece by piece, never twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from splitreason_integrations.backends.base import Codec, TextStream

_CONTEXT_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Converted:
    """Target ids of one piece, and where both token sequences stand at the same character.

    `boundaries` holds pairs (source tokens, target tokens), in order; a piece may be cut at these
    places alone.
    """

    token_ids: tuple[int, ...]
    boundaries: tuple[tuple[int, int], ...]


class Joiner:
    """Encodes a text that goes on piece by piece; what stands is never encoded anew."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        # A reply never begins a text: some decoders drop a space that does.
        self._before = codec.encode("\n")

    def encode(self, text: str) -> list[int]:
        """Return ids of a text behind what stands."""
        ids = self._codec.encode(text) if text else []
        if not self.joins(ids, text):
            # A tokenizer that puts a space before every text: encode behind a line break instead.
            lead, led = self._codec.encode("\n"), self._codec.encode("\n" + text)
            if led[: len(lead)] == lead and self.joins(led[len(lead) :], text):
                ids = led[len(lead) :]
        return ids

    def advance(self, token_ids: Sequence[int]) -> None:
        """Let ids stand."""
        self._before = list(token_ids[-_CONTEXT_TOKENS:]) or self._before

    def joins(self, token_ids: Sequence[int], text: str) -> bool:
        """Return whether ids mean just this text behind what stands."""
        before = self._codec.decode(self._before)
        return self._codec.decode([*self._before, *token_ids]) == before + text

    def stream(self) -> TextStream:
        """Return a decoder of tokens that follow what stands."""
        return self._codec.text_stream(after=self._before)


def whole_ends(stream: TextStream, token_ids: Sequence[int]) -> dict[int, int]:
    """Return, by character offset, after how many tokens that offset is reached whole."""
    offset, ends = 0, {}
    for count, token_id in enumerate(token_ids, 1):
        offset += len(stream.push(token_id))
        if stream.complete:
            ends[offset] = count
    return ends


class Bridge:
    """One direction of one request. With the same tokenizer on both sides ids pass as they are."""

    def __init__(self, source: Codec, target: Codec) -> None:
        self._source = source
        self._target = target
        self._same = source.fingerprint == target.fingerprint
        self._stream = source.text_stream(after=source.encode("\n"))
        self._joiner = Joiner(target)

    def convert(self, token_ids: Sequence[int]) -> Converted:
        """Return a piece in the target's tokens; half a character waits for the next piece."""
        after, target_ids, run, offset = self._joiner.stream(), list[int](), "", 0
        mine: dict[int, int] = {}
        for count, token_id in enumerate(token_ids, 1):
            text = self._stream.push(token_id)
            offset += len(text)
            if self._stream.complete:
                mine[offset] = count
            if self._same:
                continue
            if self._source.is_control(token_id):
                target_ids += self._encode(run) + self._control(text)
                run = ""
            else:
                run += text
        if self._same:
            return Converted(tuple(token_ids), tuple((at, at) for at in mine.values()))
        target_ids += self._encode(run)
        theirs = whole_ends(after, target_ids)
        shared = sorted(mine.keys() & theirs.keys())
        return Converted(tuple(target_ids), tuple((mine[at], theirs[at]) for at in shared))

    def rest(self) -> tuple[int, ...]:
        """Return what waits for a next piece, where there is none to come."""
        text = self._stream.flush()
        return () if self._same else tuple(self._encode(text))

    def _control(self, text: str) -> list[int]:
        known = self._target.control_token(text)
        return self._target.encode(text) if known is None else [known]

    def _encode(self, text: str) -> list[int]:
        ids = self._joiner.encode(text)
        self._joiner.advance(ids)
        return ids

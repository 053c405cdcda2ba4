"""Converts one model's tokens to another's, piece by piece, never a piece twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.joiner import Joiner, whole_ends


@dataclass(frozen=True, slots=True)
class Converted:
    """One piece in the target's tokens.

    Attributes:
        token_ids: the target's ids.
        boundaries: pairs (source tokens, target tokens) after which both sequences are at the same
            character, in order; a piece may be cut only there.

    """

    token_ids: tuple[int, ...]
    boundaries: tuple[tuple[int, int], ...]


class Bridge:
    """One direction of one request; with the same tokenizer on both sides ids pass unchanged."""

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
            whole = tuple(mine.values())
            return Converted(tuple(token_ids), tuple(zip(whole, whole, strict=True)))
        target_ids += self._encode(run)
        theirs = whole_ends(after, target_ids)
        shared = sorted(mine.keys() & theirs.keys())
        return Converted(tuple(target_ids), tuple((mine[at], theirs[at]) for at in shared))

    def rest(self) -> tuple[int, ...]:
        """Return the ids of what was held back for a next piece, where none comes."""
        text = self._stream.flush()
        return () if self._same else tuple(self._encode(text))

    def _control(self, text: str) -> list[int]:
        known = self._target.control_token(text)
        return self._target.encode(text) if known is None else [known]

    def _encode(self, text: str) -> list[int]:
        ids = self._joiner.encode(text)
        self._joiner.advance(ids)
        return ids

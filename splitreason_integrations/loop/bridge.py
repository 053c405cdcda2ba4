"""Converts one model's tokens to another's, piece by piece, never a piece twice.

Between different tokenizers the tokens of a text depend on where it is cut. What is read a chunk at
a time is therefore converted in units that the text alone determines, such as words, and the last
one waits until it is complete: the same text becomes the same tokens, whatever the chunks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.joiner import Joiner, whole_ends

_WORD = re.compile(r"\s{0,16}\S{0,16}")
_LINE = re.compile(r"[^\n]{0,4000}\n?")


@dataclass(frozen=True, slots=True)
class Converted:
    """One piece in the target's tokens.

    Attributes:
        token_ids: the target's ids.
        boundaries: pairs (source tokens, target tokens) after which both sequences are at the same
            character, in order; a piece may be cut only there. Where a unit of earlier pieces ends
            with them, 0 source tokens of this one come before the boundary.

    """

    token_ids: tuple[int, ...]
    boundaries: tuple[tuple[int, int], ...]


class Bridge:
    """One direction of one request; with the same tokenizer on both sides ids pass unchanged.

    With `by_line` the units of what is read in chunks are lines and not words.
    """

    def __init__(self, source: Codec, target: Codec, *, by_line: bool = False) -> None:
        self._source = source
        self._target = target
        self._same = source.fingerprint == target.fingerprint
        self._stream = source.text_stream(after=source.encode("\n"))
        self._joiner = Joiner(target)
        self._unit = _LINE if by_line else _WORD
        self._waiting = ""

    def convert(self, token_ids: Sequence[int], *, in_units: bool = False) -> Converted:
        """Return a piece in the target's tokens; half a character waits for the next piece.

        With `in_units`, the last unit waits, too, and boundaries are at the ends of units.
        """
        if self._same:
            return self._unchanged(token_ids)
        after, target_ids, text, offset = self._joiner.stream(), list[int](), self._waiting, 0
        waited, offset = len(self._waiting), len(self._waiting)
        mine: dict[int, int] = {waited: 0} if waited and in_units else {}
        ends = set[int]()
        done = 0
        for count, token_id in enumerate(token_ids, 1):
            pushed = self._stream.push(token_id)
            offset += len(pushed)
            if self._stream.complete:
                mine[offset] = count
            if self._source.is_control(token_id):
                target_ids += self._encode(text) + self._control(pushed)
                ends |= {done + len(text), offset}
                text, done = "", offset
            else:
                text += pushed
        units, text = self._units(text) if in_units else ([text], "")
        for unit in units:
            target_ids += self._encode(unit)
            done += len(unit)
            ends.add(done)
        self._waiting = text
        theirs = whole_ends(after, target_ids)
        shared = sorted(mine.keys() & theirs.keys() & (ends if in_units else theirs.keys()))
        return Converted(tuple(target_ids), tuple((mine[at], theirs[at]) for at in shared))

    def rest(self) -> tuple[int, ...]:
        """Return the ids of what was held back for a next piece, where none comes."""
        text, self._waiting = self._waiting + self._stream.flush(), ""
        return () if self._same else tuple(self._encode(text))

    def _unchanged(self, token_ids: Sequence[int]) -> Converted:
        whole = []
        for count, token_id in enumerate(token_ids, 1):
            self._stream.push(token_id)
            if self._stream.complete:
                whole.append(count)
        return Converted(tuple(token_ids), tuple(zip(whole, whole, strict=True)))

    def _units(self, text: str) -> tuple[list[str], str]:
        """Return the units that cannot become longer, and the text that waits."""
        units, at = [], 0
        while (found := self._unit.match(text, at)) is not None:
            ends_line = self._unit is _LINE and found[0].endswith("\n")
            is_complete = found.end() < len(text) or ends_line
            if found.end() == at or not is_complete:
                break
            units.append(found[0])
            at = found.end()
        return units, text[at:]

    def _control(self, text: str) -> list[int]:
        known = self._target.control_token(text)
        return self._target.encode(text) if known is None else [known]

    def _encode(self, text: str) -> list[int]:
        ids = self._joiner.encode(text)
        self._joiner.advance(ids)
        return ids

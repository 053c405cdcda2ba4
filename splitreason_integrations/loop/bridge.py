"""Converts one model's tokens to another's, piece by piece, never a piece twice.

Between different tokenizers the tokens of a text depend on where it is cut. What is read a chunk at
a time is therefore converted in units that the text alone determines, such as words, and the last
one waits until it is complete: the same text becomes the same tokens, whatever the chunks.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitreason_integrations.privacy.redacting_codec import RedactingCodec
from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.joiner import Joiner, whole_ends

_MOST_BEFORE = 4096
"""Characters of what was said before a text, for what may have begun in it."""
_WORD = re.compile(r"\s{0,16}\S{0,16}")
_LINE = re.compile(r"[^\n]{0,4000}\n?")


@dataclass(frozen=True, slots=True)
class Converted:
    """One piece in the target's tokens.

    Attributes:
        token_ids: the target's ids.
        boundaries: pairs (source tokens, target tokens) after which both sequences are at the same
            character, in order; a piece may be cut only there. Where text has waited they may be in
            earlier pieces: 0 source tokens is where this piece begins, -2 is two tokens earlier.

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
        self._ends: dict[int, int] = {}
        self._said = ""

    def follow(self, text: str) -> None:
        """Take what is converted next for what follows a text, for targets that hide parts."""
        self._said = text

    def convert(
        self, token_ids: Sequence[int], *, in_units: bool = False, whole: bool = False
    ) -> Converted:
        """Return a piece in the target's tokens; half a character waits for the next piece.

        With `in_units`, the last unit waits, too. With `whole`, nothing waits.
        """
        if self._same:
            return self._unchanged(token_ids)
        after, target_ids, text, mine = (
            self._joiner.stream(),
            list[int](),
            self._waiting,
            self._ends,
        )
        offset = len(text)
        for count, token_id in enumerate(token_ids, 1):
            pushed = self._stream.push(token_id)
            offset += len(pushed)
            if self._stream.complete:
                mine[offset] = count
            if self._source.is_control(token_id):
                units, rest = self._units(text) if in_units else ([], text)
                target_ids += self._encode_all([*units, rest]) + self._control(pushed)
                text = ""
            else:
                text += pushed
        if whole:
            text += self._stream.flush()
        units, waiting = self._units(text) if in_units else ([text], "")
        if whole:
            units, waiting = [*units, waiting], ""
        target_ids += self._encode_all(units)
        self._wait_with(waiting, offset - len(waiting), mine, len(token_ids))
        theirs = whole_ends(after, target_ids)
        boundaries = [(mine[at], theirs[at]) for at in sorted(mine.keys() & theirs.keys())]
        return Converted(tuple(target_ids), tuple(boundaries))

    def convert_chunk(self, chunk: Sequence[int], *, known: int, whole: bool) -> Converted:
        """Return what is new of a chunk, in units.

        Args:
            chunk: tokens since the last boundary at which something was kept.
            known: how many of them were converted before.
            whole: whether nothing comes after the chunk, and so nothing of it waits.

        Returns:
            The ids of what is new, with boundaries that count all of the chunk's tokens. The end of
            a whole chunk is one.

        """
        converted = self.convert(chunk[known:], in_units=True, whole=whole)
        boundaries = [(known + mine, theirs) for mine, theirs in converted.boundaries]
        if whole and chunk:
            end = len(chunk), len(converted.token_ids)
            boundaries = [*(at for at in boundaries if at[0] < len(chunk)), end]
        return Converted(converted.token_ids, tuple(boundaries))

    def rest(self) -> tuple[int, ...]:
        """Return the ids of what was held back for a next piece, where none comes."""
        return self.convert((), whole=True).token_ids

    def _unchanged(self, token_ids: Sequence[int]) -> Converted:
        ends = []
        for count, token_id in enumerate(token_ids, 1):
            self._stream.push(token_id)
            if self._stream.complete:
                ends.append(count)
        return Converted(tuple(token_ids), tuple(zip(ends, ends, strict=True)))

    def _wait_with(self, text: str, at: int, ends: Mapping[int, int], tokens: int) -> None:
        """Let the text from `at` on wait, and remember where source tokens end in it."""
        self._waiting = text
        self._ends = {end - at: count - tokens for end, count in ends.items() if end > at}

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
        return self._encode(text) if known is None else [known]

    def _encode_all(self, units: Sequence[str]) -> list[int]:
        return [token for unit in units for token in self._encode(unit)]

    def _encode(self, text: str) -> list[int]:
        if isinstance(self._target, RedactingCodec):
            self._target.follow(self._said)
            self._said = (self._said + text)[-_MOST_BEFORE:]
        ids = self._joiner.encode(text)
        self._joiner.advance(ids)
        return ids

"""How the characters of a text are written, so that RE2 sees in it what Python's `re` does."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from splitreason_integrations.patterns.characters import (
    ASCII,
    LAST,
    Characters,
    category,
    single,
)

NOTHING = r"[^\x{0}-\x{10ffff}]"
"""What matches no character, in RE2's syntax."""


class Signs:
    r"""One sign for all characters beyond ASCII that a pattern does not tell apart.

    Programs stay small, as `\w` is then a few signs and not 140,000 characters; halves of
    characters, which UTF-8 cannot write, have a sign as well.
    """

    INNER_NEWLINE, UNDERSCORE = "\x80", "\x81"
    """Signs that stand for these where an alphabet says so."""
    _FIRST = 0x100

    def __init__(self, sets: Iterable[Characters]) -> None:
        turns: dict[int, int] = {0x80: 0}
        for at, characters in enumerate(sets):
            for first, last in characters.ranges:
                for code in (first, last + 1):
                    turns[max(code, 0x80)] = turns.get(max(code, 0x80), 0) ^ (1 << at)
        self._starts = sorted(turns)
        known: dict[int, int] = {}
        self._signs: list[int] = []
        inside = 0
        for start in self._starts:
            inside ^= turns[start]
            self._signs.append(known.setdefault(inside, self._FIRST + len(known)))
        examples = dict(zip(self._signs[::-1], self._starts[::-1], strict=True))
        self._examples = {sign: chr(code) for sign, code in examples.items() if code <= LAST}

    def __getitem__(self, code: int) -> str:
        """Return the sign of a character beyond ASCII."""
        return chr(self._signs[bisect_right(self._starts, code) - 1])

    def of(self, characters: Characters) -> Characters:
        """Return the signs of one of the sets that they were made for."""
        found = (sign for sign, example in self._examples.items() if example in characters)
        return (characters & ASCII) | Characters.of((sign, sign) for sign in found)


class _Table(dict[int, str]):
    """How each character is written, for `str.translate`."""

    _MOST_KEPT = 10_000

    def __init__(self, signs: Signs, words: Characters | None) -> None:
        super().__init__((code, chr(code)) for code in range(0x80))
        self._signs = signs
        self._words = words or Characters()
        if words is not None:
            self[ord("_")] = f"_{Signs.UNDERSCORE}_"

    def __missing__(self, code: int) -> str:
        sign = self._signs[code]
        written = f"_{sign}_" if sign in self._words else sign
        if len(self) < self._MOST_KEPT:
            self[code] = written
        return written


class Alphabet(Protocol):
    """Says how the characters of a text are written."""

    def one_of(self, characters: Characters) -> str:
        """Return what matches one character of a set."""


@dataclass(slots=True)
class Sets:
    """Only notes which sets of characters a pattern has."""

    noted: dict[Characters, None] = field(default_factory=dict)

    def one_of(self, characters: Characters) -> str:
        """Note a set."""
        self.noted[characters] = None
        return "x"


class Signed:
    """Writes a text with signs, and with two changes for what RE2 does not have.

    The word boundary of RE2 knows only ASCII. It is at the same places as Python's where each `_`
    and every letter and digit beyond ASCII stand between two `_`. And a `$` that matches at the end
    and before the last newline is one before any newline where all others have a sign.

    Args:
        signs: the sign of each character beyond ASCII; None if a text has none of them.
        folded: newlines have a sign, except for one at the end.
        wrapped: letters and digits stand between two `_`.

    """

    def __init__(self, signs: Signs | None, *, folded: bool, wrapped: bool) -> None:
        self._signs = signs
        self._folded = folded
        self._words: Characters | None = None
        if signs is not None:
            if wrapped:
                letters = signs.of(category(r"\w", ascii_only=False)) & ~ASCII
                self._words = letters | single(Signs.UNDERSCORE)
            self._table = _Table(signs, self._words)

    def one_of(self, characters: Characters) -> str:
        """Return what matches one character of a set, as its sign."""
        found = characters & ASCII if self._signs is None else self._signs.of(characters)
        if self._folded and "\n" in characters:
            found |= single(Signs.INNER_NEWLINE)
        if self._words is None:
            return _class(found)
        if "_" in characters:
            found |= single(Signs.UNDERSCORE)
        words, others = found & self._words, found & ~self._words & ~single("_")
        return f"(?:{_class(others)}|_{_class(words)}_)" if words.ranges else _class(others)

    def written(self, text: str) -> str:
        """Return a text as this alphabet writes it."""
        if self._signs is not None:
            text = text.translate(self._table)
        if self._folded:
            text = text[:-1].replace("\n", Signs.INNER_NEWLINE) + text[-1:]
        return text

    def places(self, written: str) -> Callable[[int], int]:
        """Return what gives the place in a text of a place in what was written for it."""
        if self._words is None:
            return lambda at: at
        added = [one.start() for one in re.finditer("_", written)]
        return lambda at: at - bisect_left(added, at)


def _class(characters: Characters) -> str:
    if not characters.ranges:
        return NOTHING
    (first, last), *more = characters.ranges
    if first == last and not more:
        return chr(first) if first < 0x80 and chr(first).isalnum() else rf"\x{{{first:x}}}"
    inside = "".join(rf"\x{{{a:x}}}-\x{{{b:x}}}" for a, b in characters.ranges)
    return f"[{inside}]"

"""Sets of characters, as ranges of code points."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

LAST = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Characters:
    """A set of characters.

    Attributes:
        ranges: First and last code point of each range, in order and apart from each other.

    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> "Characters":
        """Return the set of ranges that may overlap."""
        joined: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        return cls(tuple(joined))

    def __or__(self, other: "Characters") -> "Characters":
        return Characters.of([*self.ranges, *other.ranges])

    def __invert__(self) -> "Characters":
        ends = [-1, *(end for first, last in self.ranges for end in (first, last)), LAST + 1]
        pairs = zip(ends[::2], ends[1::2], strict=True)
        return Characters(tuple((a + 1, b - 1) for a, b in pairs if a + 1 <= b - 1))

    def __and__(self, other: "Characters") -> "Characters":
        return ~(~self | ~other)

    def __contains__(self, character: str) -> bool:
        code = ord(character)
        at = bisect_right(self.ranges, (code, LAST)) - 1
        return at >= 0 and code <= self.ranges[at][1]


def single(character: str) -> Characters:
    """Return the set of one character."""
    return Characters(((ord(character), ord(character)),))


ANY = Characters(((0, LAST),))
ASCII = Characters(((0, 0x7F),))
NEWLINE = single("\n")


@lru_cache(maxsize=16)
def category(name: str, *, ascii_only: bool) -> Characters:
    r"""Return what a class such as `\w` stands for in Python's `re`."""
    every = "".join(map(chr, range(128 if ascii_only else LAST + 1)))
    found = Characters.of(
        (one.start(), one.end() - 1) for one in re.finditer(rf"{name.lower()}+", every)
    )
    return ~found if name.isupper() else found


def without_case(characters: Characters, *, ascii_only: bool) -> Characters:
    """Return the characters that Python's `re` takes for one of these where case is ignored."""
    cased = _cased()
    inside = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in characters.ranges)
    if not inside:
        return characters
    flags = re.IGNORECASE | (re.ASCII if ascii_only else 0)
    same = Characters.of((ord(one), ord(one)) for one in re.findall(f"[{inside}]", cased, flags))
    return characters | same


@lru_cache(maxsize=1)
def _cased() -> str:
    """Return the characters that have another case."""
    return "".join(
        one for one in map(chr, range(LAST + 1)) if one.lower() != one or one.upper() != one
    )

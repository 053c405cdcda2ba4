"""Finds card numbers: by their issuers' first digits, their length and their check digit.

The first digits and lengths are those that the card schemes publish (ISO/IEC 7812-1).
"""

import re
from collections.abc import Iterator
from itertools import accumulate

_RUN = re.compile(r"[0-9]+(?:[ \-./_\t\r\n]{1,3}[0-9]+)*")
_GROUP = re.compile(r"[0-9]+")
_SIZES = range(13, 20)
_BEGUN_DIGITS = 6
_LONG = frozenset(range(16, 20))
_ISSUED: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 18, 19})),
    (51, 55, frozenset({16})),
    (2221, 2720, frozenset({16})),
    (2200, 2205, _LONG),
    (34, 34, frozenset({15})),
    (37, 37, frozenset({15})),
    (300, 305, frozenset({14, *_LONG})),
    (309, 309, frozenset({14, *_LONG})),
    (36, 36, frozenset({14, *_LONG})),
    (38, 39, frozenset({14, *_LONG})),
    (3528, 3589, _LONG),
    (60, 60, _LONG),
    (62, 65, _LONG),
    (81, 82, _LONG),
    (50, 50, frozenset(range(13, 20))),
    (56, 58, frozenset(range(13, 20))),
    (61, 61, frozenset(range(13, 20))),
    (66, 69, frozenset(range(13, 20))),
    (9792, 9792, frozenset({16})),
)
"""First digits, from and to, and lengths: Visa, Mastercard, Mir, American Express, Diners Club,
JCB, Discover, RuPay, UnionPay, Maestro, Troy."""
_USUAL_GROUPS = frozenset(
    {(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (8, 8), (4, 4, 4, 1), (4, 3, 3, 3)}
)
_DOUBLED = tuple(sum(divmod(2 * digit, 10)) for digit in range(10))


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield where card numbers stand, also where other numbers stand beside them."""
    for found in _RUN.finditer(text):
        if found.end() - found.start() >= _SIZES[0]:
            yield from _Run(text, found.start(), found.end()).cards()


def begun_card(text: str) -> int | None:
    """Return where a card number begins that the text does not finish; None if none does."""
    tail = max(0, len(text) - 64)
    last = next(iter([*_RUN.finditer(text, tail)][-1:]), None)
    if last is None or len(text) - last.end() > 1 or (text[last.end() :] or "-") not in " -":
        return None
    for group in _GROUP.finditer(last[0]):
        digits = "".join(_GROUP.findall(last[0], group.start()))
        if _BEGUN_DIGITS <= len(digits) < _SIZES[-1] and _sizes(digits):
            return last.start() + group.start()
    return None


class _Run:
    """Groups of digits with what separates them."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        self._groups = [found.span() for found in _GROUP.finditer(text, start, end)]
        self._digits = "".join(text[first:last] for first, last in self._groups)
        self._at = list(accumulate((last - first for first, last in self._groups), initial=0))
        values = [int(digit) for digit in self._digits]
        even = (_DOUBLED[one] if at % 2 else one for at, one in enumerate(values))
        odd = (one if at % 2 else _DOUBLED[one] for at, one in enumerate(values))
        self._sums = list(accumulate(even, initial=0)), list(accumulate(odd, initial=0))

    def cards(self) -> Iterator[tuple[int, int]]:
        for first in range(len(self._groups)):
            start = self._at[first]
            sizes = _sizes(self._digits[start : start + 4])
            if not sizes:
                continue
            for last in range(first, min(first + _SIZES[-1], len(self._groups))):
                size = self._at[last + 1] - start
                if size > _SIZES[-1]:
                    break
                is_card = size in sizes and self._sums_up(start, start + size)
                if is_card and self._is_written_so(first, last):
                    yield self._groups[first][0], self._groups[last][1]

    def _sums_up(self, start: int, end: int) -> bool:
        """Return whether the check digit of a number is right (ISO/IEC 7812-1, annex B)."""
        sums = self._sums[(end - 1) % 2]
        return (sums[end] - sums[start]) % 10 == 0

    def _is_written_so(self, first: int, last: int) -> bool:
        """Return whether a card's number is written in such groups, between such neighbours."""
        text, (start, _), (_, end) = self._text, self._groups[first], self._groups[last]
        is_all = (first, last) == (0, len(self._groups) - 1)
        sizes = tuple(b - a for a, b in self._groups[first : last + 1])
        is_usual = first == last or sizes in _USUAL_GROUPS
        before, after = text[max(0, start - 2) : start], text[end : end + 1]
        if first > 0 and text[start - 1] == "." and before[:1].isdigit():
            return False
        if _is_letter(before[-1:]) or _is_letter(after):
            return is_usual and is_all
        between = {
            text[a:b]
            for (_, a), (b, _) in zip(
                self._groups[first:last], self._groups[first + 1 : last + 1], strict=True
            )
        }
        plain = all(one.strip(" -") == "" for one in between)
        return is_usual or (is_all and plain)


def _sizes(digits: str) -> frozenset[int]:
    """Return the lengths that a number with these first digits may have."""
    found: frozenset[int] = frozenset()
    for low, high, sizes in _ISSUED:
        if low <= int(digits[: len(str(low))]) <= high:
            found |= sizes
    return found


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()

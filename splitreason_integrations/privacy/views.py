"""A text as its readers decode it, each character with its place in the original.

The rules search every view: the text without invisible characters and odd forms of letters, then
what its escapes mean, layer by layer. What they find is hidden in the original.
"""

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

Edit: TypeAlias = tuple[int, int, str]
"""Where a part of a text begins and ends, and what it means."""

_MOST_LAYERS = 6
"""JSON inside JSON inside JSON, in a URL, is four."""
_ODD = re.compile(r"[^\t\n\r\x20-\x7e]")
_CODED = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]{1,6}\}|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}"
    r"|\\[\\\"'/bfnrt`]|%[0-9a-fA-F]{2}"
    r"|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});"
)
_BLANKS = {"b": " ", "f": " ", "n": "\n", "r": "\n", "t": "\t"}
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_DASHES = frozenset("\u02d7\u2043\u207b\u208b\u2212\u2500\u2796")
_QUOTES = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
}


class View:
    """One way of reading a text.

    Attributes:
        text: what is read.

    """

    __slots__ = ("_edited", "_parent", "_places", "text")

    def __init__(self, text: str, parent: "View | None" = None, edits: Iterable[Edit] = ()) -> None:
        self._parent = parent
        # Of each edit: where it is in this text, where it ends here, and the same in the parent's.
        self._places: list[int] = []
        self._edited: list[tuple[int, int, int, int]] = []
        parts, done, length = list[str](), 0, 0
        for start, end, meant in edits:
            parts += (text[done:start], meant)
            at = length + start - done
            length = at + len(meant)
            self._places.append(at)
            self._edited.append((at, length, start, end))
            done = end
        self.text = "".join([*parts, text[done:]]) if parts else text

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original of a part of this view that is not empty."""
        view: View | None = self
        while view is not None:
            start, end = view._before(start)[0], view._before(end - 1)[1]
            view = view._parent
        return start, end

    def _before(self, at: int) -> tuple[int, int]:
        """Return where the character at a place begins and ends in the parent's text."""
        number = bisect_right(self._places, at) - 1
        if number < 0:
            return at, at + 1
        _, length, start, end = self._edited[number]
        if at < length:
            return start, end
        place = end + at - length
        return place, place + 1


def views(text: str) -> list[View]:
    """Return the views of a text: the original first, unless nothing in it is read otherwise."""
    found = [View(text)]
    for layer in range(_MOST_LAYERS):
        last = found[-1]
        coded = View(last.text, last, _decoded(last.text)) if layer else last
        plain = View(coded.text, coded, _plain_forms(coded.text))
        if plain.text == last.text:
            if layer:
                break
            continue
        found.append(plain)
    return found


def decoded_forms(text: str) -> list[str]:
    """Return what a text may be read as."""
    return [view.text for view in views(text)]


def _plain_forms(text: str) -> Iterator[Edit]:
    if text.isascii() and text.isprintable():
        return
    for found in _ODD.finditer(text):
        plain = _plain(found[0])
        if plain != found[0]:
            yield found.start(), found.end(), plain


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """Return the usual form of a character; nothing for an invisible one."""
    if character in _QUOTES:
        return _QUOTES[character]
    category = unicodedata.category(character)
    variation = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    if category in ("Cf", "Cc", "Cs") or variation or character in _FILLERS:
        return "\n" if character in "\x0b\x0c\x85" else ""
    if category == "Pd" or character in _DASHES:
        return "-"
    if category in ("Zs", "Zl", "Zp"):
        return " " if category == "Zs" else "\n"
    if category == "Nd":
        return str(unicodedata.decimal(character))
    usual = unicodedata.normalize("NFKC", character)
    return usual if usual.isascii() else character


def _decoded(text: str) -> Iterator[Edit]:
    """Yield what one layer of escapes means: those of JSON, of addresses and of HTML."""
    if "\\" not in text and "%" not in text and "&" not in text:
        return
    done = 0
    for found in _CODED.finditer(text):
        if found.start() < done:
            continue
        code = found[0]
        if code[0] == "%":
            length, meant = _from_bytes(text, found.start())
        else:
            length, meant = len(code), _meant(code)
        if meant is not None:
            done = found.start() + length
            yield found.start(), done, meant


def _meant(code: str) -> str | None:
    if code[0] == "&":
        meant = html.unescape(code)
        return None if meant == code else meant
    if code[1] not in "uUx":
        return _BLANKS.get(code[1], code[1])
    if len(code) == 12:
        return (
            code.encode("ascii")
            .decode("unicode_escape")
            .encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
        )
    number = int(code[2:].strip("{}"), 16)
    is_character = number < 0x110000 and not 0xD800 <= number < 0xE000
    return chr(number) if is_character else "\ufffd"


def _from_bytes(text: str, at: int) -> tuple[int, str | None]:
    """Return how much of a text spells one character in percent signs, and which one."""
    first = int(text[at + 1 : at + 3], 16)
    count = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    spelled = text[at : at + 3 * count]
    try:
        raw = bytes(int(spelled[place + 1 : place + 3], 16) for place in range(0, 3 * count, 3))
        meant = raw.decode() if spelled[::3] == "%" * count else None
    except ValueError:
        meant = None
    return 3 * count, meant

"""Text of models as people may see it: characters that act on a screen are written out."""

import re
import unicodedata
from functools import cache

_KEPT = "\n\t"
_VISIBLE = frozenset(
    [*range(0x600, 0x606), *range(0x13430, 0x13440), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2]
)
"""Format characters that are shown themselves: signs around Arabic numbers, for example."""
_TAGS = range(0xE0000, 0xE0080)
_JOINERS = frozenset((0x200C, 0x200D))
"""Emoji and several scripts are written with these, so they stay between two such characters."""


def harmless(text: str) -> str:
    """Return a text with characters that act written out.

    They are control characters, escape sequences among them, and format characters: those that turn
    the direction of text, that nobody sees, or that end a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return _ALONE.sub(lambda found: _written(ord(found[0])), text.translate(_acting()))


@cache
def _acting() -> dict[int, str]:
    """Return what acts, and how it is written out; no such character lies elsewhere."""
    return {code: _written(code) for code in (*range(0x20000), *_TAGS) if _acts(code)}


def _written(code: int) -> str:
    return chr(code).encode("unicode_escape").decode()


def _acts(code: int) -> bool:
    if chr(code) in _KEPT or code in _VISIBLE or code in _JOINERS:
        return False
    return unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")


_ALONE = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")

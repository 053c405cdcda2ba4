"""Text of models as people may see it: characters that act on a screen are written out."""

import unicodedata

_KEPT = "\n\t"
_TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Tags that change the direction of what follows, so that text can look like other text."""


def harmless(text: str) -> str:
    """Return a text with control characters, escape sequences among them, written out."""
    return "".join(
        character.encode("unicode_escape").decode() if _acts(character) else character
        for character in text
    )


def _acts(character: str) -> bool:
    if character in _KEPT:
        return False
    return character in _TURNS_TEXT or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")

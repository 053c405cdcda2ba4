"""The terminal: its user's name, and text without control characters."""

import getpass
import unicodedata

from splitreason_integrations.errors import ConfigurationError

_KEPT = "\n\t"
_TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Tags that change the direction of what follows, so that text can look like other text."""


def harmless(text: str) -> str:
    """Return a text with control characters, escape sequences among them, written out."""
    return "".join(
        character.encode("unicode_escape").decode() if _acts(character) else character
        for character in text
    )


def login_name() -> str:
    """Return the name of the user whose process this is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ConfigurationError(
            "this user has no login name: say who answers, with by= or --by"
        ) from error


def _acts(character: str) -> bool:
    if character in _KEPT:
        return False
    return character in _TURNS_TEXT or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")

"""Placeholders: how they are written, and the checks of those that a paused request had."""

import re
from collections.abc import Iterable, Mapping

_ANY = re.compile(r"\[[A-Z][A-Z_]{0,60}_\d{1,9}\]")
_BASE_KINDS = ("email", "phone", "card", "key", "private", "text")


def pattern_of(kinds: Iterable[str]) -> "re.Pattern[str]":
    """Return the pattern of placeholders of some kinds, those of the usual rules included."""
    names = "|".join(sorted(re.escape(kind.upper()) for kind in {*_BASE_KINDS, *kinds}))
    return re.compile(rf"\[(?:{names})_\d{{1,9}}\]")


def written(kind: str, number: int) -> str:
    """Return a placeholder."""
    return f"[{kind.upper()}_{number}]"


def kind_of(placeholder: str) -> str:
    """Return the kind that a placeholder names."""
    return placeholder[1:].rpartition("_")[0].lower()


def check_kept(kept: Mapping[str, str]) -> None:
    """Raise ValueError unless these can be the placeholders of a vault, each with its text.

    A text as its own placeholder would leave as it is; two of one number would be mistaken for one
    another.
    """
    numbers = sorted(int(name[1:-1].rpartition("_")[2]) for name in filter(_is_placeholder, kept))
    if numbers != list(range(1, len(kept) + 1)):
        raise ValueError("hidden must have placeholders alone, numbered from 1 on")
    if len(set(kept.values())) < len(kept) or not all(map(str.strip, kept.values())):
        raise ValueError("hidden has an empty text, or one text twice")
    # A text of the user may be spelled like the placeholder that it gets.
    if any(name == text and not name.startswith("[TEXT_") for name, text in kept.items()):
        raise ValueError("hidden has a placeholder that stands for itself")


def _is_placeholder(text: str) -> bool:
    return _ANY.fullmatch(text) is not None

"""The bundled pair: ordinary checkpoint folders that load offline."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from splitreason_integrations.errors import ConfigurationError

Member = Literal["small", "large", "base"]
MEMBERS: tuple[Member, ...] = ("small", "large", "base")


class Unnamed(str):
    """The spec "embedded" where nobody named a model: the default of both sides of a pair."""

    __slots__ = ()


UNNAMED = Unnamed("embedded")
"""Default of `small` and `large`. It equals "embedded", and `check_pair` can tell the two apart."""


def check_pair(small: object, large: object, *, as_flags: bool = False) -> None:
    """Refuse half a pair: a named model would silently be joined with a bundled one.

    Args:
        small: the small model's spec, `UNNAMED` where nobody named one.
        large: the same of the large model.
        as_flags: whether the error names command-line flags instead of keywords.

    Raises:
        ConfigurationError: one of them is named and the other is not.

    """
    if isinstance(small, Unnamed) == isinstance(large, Unnamed):
        return
    missing, given = ("small", "large") if isinstance(small, Unnamed) else ("large", "small")
    remedy = f'{missing}="embedded"'
    if as_flags:
        missing, given, remedy = f"--{missing}", f"--{given}", f"--{missing} embedded"
    raise ConfigurationError(
        f"{given} is named and {missing} is not: name both models, or neither for the bundled "
        f"pair; {remedy} names the bundled one"
    )


def path(member: Member) -> Path:
    """Return the folder of one model, with its tokenizer.

    Args:
        member: `small` writes and marks hard spans, `large` writes the spans, `base` is the
            small model before it learned to mark.

    Raises:
        ValueError: for any other name.

    """
    if member not in MEMBERS:
        raise ValueError(f"unknown model {member!r} of the pair; known: {', '.join(MEMBERS)}")
    return Path(__file__).parent / member

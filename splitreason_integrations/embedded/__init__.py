"""The bundled pair: ordinary checkpoint folders that load offline, as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Member = Literal["small", "large", "base"]
MEMBERS: tuple[Member, ...] = ("small", "large", "base")


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

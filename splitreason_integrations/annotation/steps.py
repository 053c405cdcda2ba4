"""Split a trace into steps: its lines, or the sentences of its lines."""

import re
from enum import StrEnum

from splitreason_integrations.annotation.tagging import Span

_LINE = re.compile(r"[^\r\n]+")
_END = re.compile(r"[.!?…]+[\"'”’)\]*]*(?=\s)|[。！？]+[”’」』）]*")
_NO_END = re.compile(
    r"(?:^\s*(?:\d{1,3}|[A-Za-z])|\b(?:e\.g|i\.e|etc|cf|vs|approx|resp|Dr|Mr|Mrs|Ms|Prof|Nr"
    r"|Fig|Eq|Sec|Art|St))\.$"
)
"""Full stops that do not end a sentence: after a list number or an abbreviation."""
_ABBREVIATION_CHARACTERS = 12


class Align(StrEnum):
    """What the borders of spans are moved to."""

    SENTENCE = "sentence"
    LINE = "line"
    NONE = "none"


def steps(text: str, kind: Align) -> list[Span]:
    """Return the steps of a text in order, without surrounding white space."""
    if kind is Align.NONE:
        return []
    found: list[Span] = []
    for line in _LINE.finditer(text):
        cuts = [line.end()]
        if kind is Align.SENTENCE:
            cuts = [*_sentence_ends(text, line.start(), line.end()), line.end()]
        start = line.start()
        for cut in cuts:
            piece = text[start:cut]
            kept = piece.strip()
            if kept:
                first = start + len(piece) - len(piece.lstrip())
                found.append(Span(first, first + len(kept)))
            start = cut
    return found


def _sentence_ends(text: str, start: int, end: int) -> list[int]:
    ends: list[int] = []
    for found in _END.finditer(text, start, end):
        since = max(ends[-1] if ends else start, found.end() - _ABBREVIATION_CHARACTERS)
        if not _NO_END.search(text[since : found.end()]):
            ends.append(found.end())
    return ends

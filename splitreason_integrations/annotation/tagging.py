"""Spans of a trace and the tags around them: never nested, always closed, the text unchanged."""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from splitreason_integrations.text.tags import CLOSE, OPEN

_JOINER = "\u200d"
_JOINED_TO = frozenset("\u200d\ufe0e\ufe0f")
_BLANKS = " \t"
_start_of, _end_of = attrgetter("start"), attrgetter("end")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A range of characters of a trace.

    Attributes:
        start: First character.
        end: One past the last character.
        score: From 0 to 1, if there is one.

    """

    start: int
    end: int
    score: float | None = None


def tighten(text: str, span: Span) -> Span | None:
    """Return a span without white space at its ends that splits no combined character.

    Returns None if only white space is left.
    """
    start, end = max(0, span.start), min(len(text), span.end)
    piece = text[start:end]
    end -= len(piece) - len(piece.rstrip())
    start += len(piece) - len(piece.lstrip())
    if start >= end:
        return None
    while start > 0 and _joined(text[start - 1], text[start]):
        start -= 1
    while end < len(text) and _joined(text[end - 1], text[end]):
        end += 1
    return Span(start, end, span.score)


def align(span: Span, steps: Sequence[Span]) -> Span:
    """Extend a span over all steps that it touches; the steps must be in order."""
    first = bisect_right(steps, span.start, key=_end_of)
    last = bisect_left(steps, span.end, key=_start_of) - 1
    if first > last:
        return span
    start, end = min(span.start, steps[first].start), max(span.end, steps[last].end)
    return Span(start, end, span.score)


def merge(text: str, spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, joined where they overlap or only blanks are between them.

    A joined span has the highest of the scores.
    """
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        last = merged[-1] if merged else None
        if last is not None and not text[last.end : span.start].strip(_BLANKS):
            scores = [score for score in (last.score, span.score) if score is not None]
            end = max(last.end, span.end)
            merged[-1] = Span(last.start, end, max(scores, default=None))
        else:
            merged.append(span)
    return merged


def tag(text: str, spans: Sequence[Span]) -> str:
    """Return the text with tags around spans, which must be in order and not overlap.

    Raises:
        ValueError: They are not.

    """
    parts: list[str] = []
    at = 0
    for span in spans:
        if not at <= span.start < span.end <= len(text):
            raise ValueError(f"span {span.start}:{span.end} is out of order or outside the text")
        parts += [text[at : span.start], OPEN, text[span.start : span.end], CLOSE]
        at = span.end
    return "".join([*parts, text[at:]])


def untag(tagged: str) -> str:
    """Return the text without tags."""
    return tagged.replace(OPEN, "").replace(CLOSE, "")


def _joined(before: str, character: str) -> bool:
    """Return whether a character combines with the one before it."""
    if before.isspace() or character.isspace() or (before.isascii() and character.isascii()):
        return False
    return before == _JOINER or character in _JOINED_TO or unicodedata.combining(character) != 0

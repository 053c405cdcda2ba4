"""Find quoted snippets in a trace: exactly, after normalisation, or by similarity."""

import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from splitreason_integrations.annotation.tagging import Span, tighten

MAX_QUOTES = 256
_MAX_QUOTE = 20_000
_FUZZY_CHARACTERS = range(8, 2_001)
_WORD_REST = 24


class How(StrEnum):
    """How a snippet was found."""

    EXACT = "exact"
    NORMALISED = "normalised"
    FUZZY = "fuzzy"


class Reject(StrEnum):
    """Why a snippet was not placed."""

    EMPTY = "empty"
    REPEATED = "repeated"
    NOT_FOUND = "not found"
    TOO_LONG = "too long"
    TOO_MANY = "too many"


@dataclass(frozen=True, slots=True)
class Quote:
    """A snippet quoted from a trace.

    Attributes:
        text: The quoted text.
        score: Score from 0 to 1, if there is one.

    """

    text: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Result of placing quotes.

    Attributes:
        spans: Placed spans, in the order of their quotes.
        how: How each span was found.
        rejected: Why the other quotes were not placed.

    """

    spans: list[Span] = field(default_factory=list)
    how: list[How] = field(default_factory=list)
    rejected: list[Reject] = field(default_factory=list)


def place(trace: str, quotes: Sequence[Quote], *, cutoff: float = 90.0) -> Placement:
    """Find each quote's first unused place in a trace, preferably after the previous quote.

    Args:
        trace: The text.
        quotes: The snippets, in the order of the text.
        cutoff: Similarity from 0 to 100 that is needed if a quote is found neither exactly nor
            after normalisation.

    """
    return _Placer(trace, cutoff).place(quotes)


class _Placer:
    """A trace, and which parts of it are used."""

    def __init__(self, trace: str, cutoff: float) -> None:
        self._trace, self._cutoff = trace, cutoff
        self._plain = _Text(trace, None)
        self._folded: _Text | None = None
        self._used: list[Span] = []
        self._cursor = 0

    def place(self, quotes: Sequence[Quote]) -> Placement:
        found = Placement()
        for quote in quotes[:MAX_QUOTES]:
            placed = self._place(quote)
            if isinstance(placed, Reject):
                found.rejected.append(placed)
                continue
            span, how = placed
            self._used.append(span)
            self._cursor = span.end
            found.spans.append(Span(span.start, span.end, quote.score))
            found.how.append(how)
        found.rejected.extend([Reject.TOO_MANY] * (len(quotes) - MAX_QUOTES))
        return found

    def _place(self, quote: Quote) -> tuple[Span, How] | Reject:
        wanted = quote.text.strip()
        if not wanted:
            return Reject.EMPTY
        if len(wanted) > _MAX_QUOTE:
            return Reject.TOO_LONG
        if span := self._first(self._plain, wanted):
            return span, How.EXACT
        if self._folded is None:
            self._folded = _Text(*_fold(self._trace))
        folded = _fold(wanted)[0].strip()
        if not folded:
            return Reject.EMPTY
        if span := self._first(self._folded, folded):
            return span, How.NORMALISED
        if self._plain.has(wanted) or self._folded.has(folded):
            return Reject.REPEATED
        if span := self._nearly(self._folded, folded):
            return span, How.FUZZY
        return Reject.NOT_FOUND

    def _first(self, text: "_Text", wanted: str) -> Span | None:
        """Return the first unused place; otherwise one that differs from every other quote's."""
        overlapping: Span | None = None
        for first in dict.fromkeys((self._cursor, 0)):
            start = first
            while (place := text.place(wanted, start)) is not None:
                span = tighten(self._trace, place) or place
                clash = [one for one in self._used if one.start < span.end and span.start < one.end]
                if not clash:
                    return span
                if overlapping is None and span not in self._used:
                    overlapping = span
                start = max(place.end, *(one.end for one in clash))
        return overlapping

    def _nearly(self, text: "_Text", wanted: str) -> Span | None:
        if len(wanted) not in _FUZZY_CHARACTERS or len(wanted) > len(text.text):
            return None
        whole = text.nearest(wanted, 0, self._cutoff)
        if whole is None:
            return None
        later = text.nearest(wanted, self._cursor, self._cutoff)
        _, place = later if later is not None and later[0] >= whole[0] else whole
        return tighten(self._trace, _whole_words(self._trace, place))


class _Text:
    """A text to search; `origin` maps its characters to the trace, None means the trace itself."""

    def __init__(self, text: str, origin: Sequence[int] | None) -> None:
        self.text, self._origin = text, origin

    def has(self, wanted: str) -> bool:
        return wanted in self.text

    def place(self, wanted: str, start: int) -> Span | None:
        """Return the first occurrence from character `start` of the trace on."""
        at = self.text.find(wanted, self._at(start))
        return None if at < 0 else self._span(at, at + len(wanted))

    def nearest(self, wanted: str, start: int, cutoff: float) -> tuple[float, Span] | None:
        """Return the similarity and place of the most similar piece from `start` on."""
        first = self._at(start)
        if len(self.text) - first < len(wanted):
            return None
        from rapidfuzz import fuzz

        found = fuzz.partial_ratio_alignment(wanted, self.text[first:], score_cutoff=cutoff)
        if found is None or found.dest_start >= found.dest_end:
            return None
        return found.score, self._span(first + found.dest_start, first + found.dest_end)

    def _at(self, start: int) -> int:
        if self._origin is None:
            return start
        return bisect_left(self._origin, start)

    def _span(self, start: int, end: int) -> Span:
        if self._origin is None:
            return Span(start, end)
        return Span(self._origin[start], self._origin[end - 1] + 1)


class _Folds(dict[str, str]):
    """Cache of what each character is normalised to: one space, nothing, or unaccented letters."""

    def __missing__(self, character: str) -> str:
        if character.isspace():
            folded = " "
        elif character in _DASHES:
            folded = "-"
        elif character in _QUOTES:
            folded = "'"
        else:
            folded = "".join(
                one
                for one in unicodedata.normalize("NFKD", character).casefold()
                if unicodedata.category(one) not in ("Mn", "Cf", "Cc")
            )
        self[character] = folded
        return folded


_DASHES = frozenset("-‐‑‒–—−﹣－")
_QUOTES = frozenset("'\"`´‘’‚‛“”„‟«»‹›′″")
_folds = _Folds()


def _fold(text: str) -> tuple[str, Sequence[int]]:
    """Return the normalised text, and each of its characters' index in the original."""
    folded: list[str] = []
    origin = array("L")
    blank = True
    for at, character in enumerate(text):
        one = _folds[character]
        if one == " ":
            if blank:
                continue
            blank = True
        elif one:
            blank = False
        else:
            continue
        folded.append(one)
        for _ in one:
            origin.append(at)
    return "".join(folded), origin


def _whole_words(text: str, span: Span) -> Span:
    """Extend a span to whole words, unless a word is very long, as in scripts without spaces."""
    start, end = span.start, span.end
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
        end += 1
    if span.start - start > _WORD_REST:
        start = span.start
    return Span(start, end if end - span.end <= _WORD_REST else span.end)

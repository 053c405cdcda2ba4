"""Texts that are known to be private, found again wherever they stand."""

from collections.abc import Iterator

_BEGIN = 4
"""Texts are looked up by this many first or last characters: time grows with the text alone."""
_LEAST_PART = 4


class Known:
    """Known texts with the kind of each."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, bool]] = {}
        self._lengths: dict[str, set[int]] = {}
        self._by_end: dict[str, list[str]] = {}
        self._by_begin: dict[str, list[str]] = {}
        self._longest = 0

    def add(self, text: str, kind: str, *, in_words: bool = False) -> None:
        """Add a text; `in_words` says that it is found as a whole word only."""
        if text in self._kinds:
            return
        self._kinds[text] = kind, in_words
        self._lengths.setdefault(text[:_BEGIN], set()).add(len(text))
        if len(text) > _LEAST_PART:
            self._by_begin.setdefault(text[:_BEGIN], []).append(text)
            self._by_end.setdefault(text[-_BEGIN:], []).append(text)
            self._longest = max(self._longest, len(text))

    def places(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield the places of known texts in a text, and their kinds."""
        lengths = self._lengths
        for size in sorted({len(begin) for begin in lengths}):
            for at in range(len(text) - size + 1):
                for length in lengths.get(text[at : at + size], ()):
                    found = self._kinds.get(text[at : at + length])
                    if found and (not found[1] or _is_whole(text, at, at + length)):
                        yield at, at + length, found[0]

    def ends(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield where a text ends or begins with half or more of a known one."""
        for at in range(max(0, len(text) - self._longest), len(text) - _LEAST_PART + 1):
            part = text[at:]
            for known in self._by_begin.get(part[:_BEGIN], ()):
                if 2 * len(part) >= len(known) > len(part) and known.startswith(part):
                    yield at, len(text), self._kinds[known][0]
        # Some tokenizers need a line break before a piece; it is no part of it.
        lead = len(text) - len(text.lstrip("\n"))
        for end in range(lead + _LEAST_PART, min(len(text), lead + self._longest) + 1):
            for known in self._by_end.get(text[end - _BEGIN : end], ()):
                size = end - lead
                if 2 * size >= len(known) > size and known.endswith(text[lead:end]):
                    yield lead, end, self._kinds[known][0]


def _is_whole(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    return not ((before + text[start]).isalnum() and before) and not (
        after and (text[end - 1] + after).isalnum()
    )

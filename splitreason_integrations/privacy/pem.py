"""Finds private keys in their text forms, also those of which only a part is there (RFC 7468)."""

import re
from bisect import bisect_left
from collections.abc import Iterator

_LABEL = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?"
_BEGIN = re.compile(rf"-----BEGIN {_LABEL}-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")
_END = re.compile(rf"-----END {_LABEL}-----|---- END SSH2 ENCRYPTED PRIVATE KEY ----")
_PUTTY = re.compile(r"PuTTY-User-Key-File-[0-9]:")
_LONGEST = 20_000
_LINE = re.compile(r"[^\n]*\n?")
_BODY_WORD = re.compile(r"[A-Za-z0-9+/=\\\"',.>|#-]+")
_BODY_LINE = re.compile(r"[\s>|#\"']*[A-Za-z0-9+/=\\]{1,200}[\s\"',+]*")


def private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield where private keys stand."""
    ends = [found.span() for found in _END.finditer(text)]
    begins = [first for first, _ in ends]
    done, used = 0, set[int]()
    all_begun = [*_BEGIN.finditer(text)]
    following = [*(found.start() for found in all_begun[1:]), len(text)]
    for found, limit in zip(all_begun, following, strict=False):
        if found.start() < done:
            continue
        at = bisect_left(begins, found.end())
        if at < len(ends) and ends[at][1] - found.start() <= _LONGEST:
            used.add(at)
            done = ends[at][1]
        else:
            done = _begun(text, found.end(), min(limit, found.end() + _LONGEST))
        yield found.start(), done
    for at, (first, end) in enumerate(ends):
        if at not in used:
            yield _ended(text, first, ends[at - 1][1] if at else 0), end
    for found in _PUTTY.finditer(text):
        last = text.find("Private-MAC:", found.end(), found.end() + _LONGEST)
        line = text.find("\n", last) if last >= 0 else -1
        yield found.start(), line if line >= 0 else min(len(text), found.end() + _LONGEST)


def _begun(text: str, at: int, limit: int) -> int:
    """Return where the part ends that is there of a key whose end is missing."""
    for line in _LINE.finditer(text, at, limit):
        words = line[0].split()
        is_header = ":" in line[0] and len(words) < 6
        is_body = all(_BODY_WORD.fullmatch(word) for word in words)
        if not (is_header or is_body) or (len(words) > 1 and is_body and min(map(len, words)) < 16):
            return line.start() if line.start() > at else at
    return limit


def _ended(text: str, at: int, least: int) -> int:
    """Return where the part begins that is there of a key whose beginning is missing."""
    start = at
    least = max(least, at - _LONGEST)
    while start > least:
        line = text.rfind("\n", least, start - 1) + 1 or least
        if not _BODY_LINE.fullmatch(text[line:start]):
            break
        start = line
    return start

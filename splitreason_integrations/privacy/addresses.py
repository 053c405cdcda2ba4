"""Finds e-mail addresses, and passwords in the addresses of servers."""

import re
from collections.abc import Iterator

_LOCAL_LENGTH = 64
_SIGNS = frozenset("_.+%'-")
_DOMAIN = re.compile(r"(?:[^\W_]|[-\u0300-\u036f_])(?:[\w-]|[\u0300-\u036f]){0,62}")
_TOP = re.compile(r"xn--[a-z0-9-]{2,59}|(?:[^\W\d_]|[\u0300-\u036f]){2,63}", re.IGNORECASE)
_LABELS = 9
_USER = re.compile(r"[^\s\"'`<>@/?#]{1,512}")
_AUTHORITY = re.compile(r"[^\s\"'`<>]{1,1024}")


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Yield where e-mail addresses stand."""
    at = text.find("@")
    while at >= 0:
        start, end = _local_start(text, at), _domain_end(text, at + 1)
        if start < at and end is not None:
            yield start, end
        at = text.find("@", at + 1)


def begun_email(text: str) -> int | None:
    """Return where an address begins that the text does not finish; None if none does."""
    at = text.rfind("@", max(0, len(text) - 256))
    if at < 0 or not all(_is_sign(one) for one in text[at + 1 :]):
        return None
    start = _local_start(text, at)
    return start if start < at else None


def passwords_in_addresses(text: str, *, is_cut: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where passwords stand in addresses such as `https://user:password@host` (RFC 3986)."""
    at = text.find("://")
    while at >= 0:
        start = at + 3
        at = text.find("://", start)
        found = _AUTHORITY.match(text, start, at if at >= 0 else len(text))
        if found is None:
            continue
        colon, sign = found[0].find(":"), found[0].rfind("@")
        is_open = is_cut and found.end() == len(text)
        if sign < 0 and is_open and colon >= 0 and not found[0][colon + 1 :].isdigit():
            yield start + colon + 1, found.end()
        if sign < 0:
            continue
        if 0 <= colon < sign:
            if not re.match(r"[0-9]{1,5}[/?#]", found[0][colon + 1 :]) and sign > colon + 1:
                user = re.search(r"[/?#]", found[0][:colon])
                if user is None:
                    yield start + colon + 1, start + sign
        elif re.fullmatch(r"[\w~.%+-]{16,}", found[0][:sign]) and re.search(
            "[0-9]", found[0][:sign]
        ):
            yield start, start + sign


def _local_start(text: str, at: int) -> int:
    least = max(0, at - _LOCAL_LENGTH)
    while at > least and _is_sign(text[at - 1]):
        at -= 1
    return at


def _domain_end(text: str, at: int) -> int | None:
    """Return where a domain ends that begins at a place: behind its last label that may end one."""
    end = None
    for number in range(_LABELS):
        label = _DOMAIN.match(text, at)
        if label is None:
            break
        top = _TOP.match(text, at)
        if number and top is not None:
            end = top.end()
        at = label.end() + 1
        if text[label.end() : at] != ".":
            break
    return end


def _is_sign(character: str) -> bool:
    return character.isalnum() or character in _SIGNS or "\u0300" <= character <= "\u036f"

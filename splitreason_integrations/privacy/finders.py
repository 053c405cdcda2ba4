"""Finds what may be private in a text: e-mail addresses, telephone and card numbers, keys."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from splitreason_integrations.checks import check_extra, check_names
from splitreason_integrations.errors import SettingError

Finder: TypeAlias = Callable[[str], Iterable[str]]
"""Returns the parts of a text to hide."""

# Each run is bounded: time grows with the text's length alone.
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}")
_ESCAPE = re.compile(r"\\(?:\\|[bfnrt]|u[0-9a-fA-F]{4})")
_CARD_DIGITS = range(13, 20)
_DIGITS = re.compile(r"\d+(?:[ \u00a0\u202f-]\d+)*")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.{0,20000}?"
    r"-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?<![\w-])(?:sk|pk|rk)[-_][\w-]{16,4096}"
    r"|(?<![\w-])(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)"
    r"|(?<![\w-])gh[pousr]_\w{20,255}|(?<![\w-])github_pat_\w{20,255}|(?<![\w-])glpat-[\w-]{16,255}"
    r"|(?<![\w-])xox[abeoprs]-[\w-]{10,255}|(?<![\w-])hf_\w{20,255}|(?<![\w-])AIza[\w-]{30,64}"
    r"|(?<![\w-])eyJ[\w-]{8,4096}\.[\w-]{8,8192}\.[\w-]{8,4096}",
    re.DOTALL,
)
_NAMED_KEY = re.compile(
    r"(?:api[ _-]?key|access[ _-]?key|secret|token|passw(?:or)?d|bearer)"
    r"[\"']?(?:\s{0,4}(?:[:=]|is)\s{0,4}|\s{1,4}(?=[\w.~+/-]{20}))[\"']?([^\s\"',;]{6,4096})",
    re.IGNORECASE,
)


def _unescaped(text: str) -> str:
    """Return text inside JSON with what its escapes mean, every character at its place."""
    return _ESCAPE.sub(_meant, text) if "\\" in text else text


def _meant(escape: re.Match[str]) -> str:
    if escape[0][1] != "u":
        return escape[0] if escape[0][1] == "\\" else "  "
    character = chr(int(escape[0][2:], 16))
    return character * 6 if character.isalnum() else f"{character:>6}"


def _emails(text: str) -> Iterable[str]:
    return (text[found.start() : found.end()] for found in _EMAIL.finditer(_unescaped(text)))


def _cards(text: str) -> Iterable[str]:
    """Find card numbers among the groups of digits, also where other numbers stand beside them."""
    for run in _DIGITS.finditer(text):
        digits = run.group()
        groups = list(re.finditer(r"\d+", digits))
        for at, first in enumerate(groups):
            size = 0
            for last in groups[at : at + _CARD_DIGITS[-1]]:
                size += last.end() - last.start()
                number = digits[first.start() : last.end()] if size in _CARD_DIGITS else ""
                if number and _sums_up(number):
                    yield number


def _sums_up(number: str) -> bool:
    """Return whether a card number's check digit is right."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _keys(text: str) -> Iterable[str]:
    # Unescaped first: a private key inside JSON has escaped line breaks.
    yield from (text[found.start() : found.end()] for found in _KEY.finditer(_unescaped(text)))
    yield from (found.group(1) for found in _NAMED_KEY.finditer(text))


def _phones(region: str | None) -> Finder:
    def find(text: str) -> Iterable[str]:
        from phonenumbers import PhoneNumberMatcher

        for found in PhoneNumberMatcher(_unescaped(text), region or "US", max_tries=len(text)):
            # Bare digits may count anything: only who names a region has them taken for a number.
            if region or not found.raw_string.isdigit():
                yield text[found.start : found.end]

    return find


KINDS: Mapping[str, Finder] = {
    "email": _emails,
    "phone": _phones(None),
    "card": _cards,
    "key": _keys,
}
"""Rules by name."""


def check_kind(name: str) -> None:
    """Raise SettingError unless `name` is a rule."""
    kind, _, region = name.partition(":")
    check_names([name if kind != "phone" else kind], KINDS, what="kind of text to redact")
    if region:
        check_extra("redact", "phonenumbers", what=f"redact={name!r}")
        from phonenumbers import SUPPORTED_REGIONS

        if region not in SUPPORTED_REGIONS:
            raise SettingError(
                f"unknown region {region!r}: give two capital letters, as in 'phone:DE'", (name,)
            )


def finder(kind: str) -> Finder:
    """Return the rule of a name that `check_kind` takes.

    Raises:
        MissingExtraError: for `phone` rules where phonenumbers is not installed.

    """
    base, _, region = kind.partition(":")
    if base == "phone":
        check_extra("redact", "phonenumbers", what=f"redact={kind!r}")
    return _phones(region) if region else KINDS[base]

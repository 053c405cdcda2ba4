"""What may not leave for a remote model: rules that find it, and the vault that keeps it.

A rule is one of `KINDS` or a function from a text to the parts of it to hide. `"phone"` knows
international numbers and North American ones; `"phone:DE"` those of a region, too.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from splitreason_integrations.checks import check_names
from splitreason_integrations.errors import ConfigurationError, SettingError

Finder: TypeAlias = Callable[[str], Iterable[str]]
Rule: TypeAlias = str | Finder
Redact: TypeAlias = Rule | Sequence[Rule]
"""One rule or several."""

# Each start is behind a border and each run bounded: time grows with the text's length alone.
_EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}")
_DIGITS = re.compile(r"\d+(?:[ -]\d+)*")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.{0,20000}?-----END [A-Z ]{0,40}PRIVATE KEY-----"
    r"|(?<![\w-])(?:sk|pk|rk)[-_][\w-]{16,256}"
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


def _emails(text: str) -> Iterable[str]:
    return (found.group() for found in _EMAIL.finditer(text))


def _cards(text: str) -> Iterable[str]:
    """Find card numbers among the groups of digits, also where other numbers stand beside them."""
    for run in _DIGITS.finditer(text):
        groups = list(re.finditer(r"\d+", run.group()))
        for at, first in enumerate(groups):
            for last in groups[at : at + _CARD_DIGITS[-1]]:
                number = run.group()[first.start() : last.end()]
                if sum(map(str.isdigit, number)) in _CARD_DIGITS and _sums_up(number):
                    yield number


def _sums_up(number: str) -> bool:
    """Return whether a card number's check digit is right."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _keys(text: str) -> Iterable[str]:
    yield from (found.group() for found in _KEY.finditer(text))
    yield from (found.group(1) for found in _NAMED_KEY.finditer(text))


def _phones(region: str | None) -> Finder:
    def find(text: str) -> Iterable[str]:
        from phonenumbers import PhoneNumberMatcher

        for found in PhoneNumberMatcher(text, region or "US", max_tries=len(text)):
            # Bare digits may count anything: only who names a region has them taken for a number.
            if region or not found.raw_string.isdigit():
                yield found.raw_string

    return find


KINDS: Mapping[str, Finder] = {
    "email": _emails,
    "phone": _phones(None),
    "card": _cards,
    "key": _keys,
}
"""Rules by name."""
Span: TypeAlias = tuple[int, int, str]
"""Where something to hide begins and ends, and its placeholder."""

_PLACEHOLDER = re.compile(r"\[(?:EMAIL|PHONE|CARD|KEY|PRIVATE|TEXT)_\d{1,9}\]")
_LEAST_PART = 4
_CARD_DIGITS = range(13, 20)


def check_kind(name: str) -> None:
    """Raise SettingError for what names no rule."""
    kind, _, region = name.partition(":")
    check_names([name if kind != "phone" else kind], KINDS, what="kind of text to redact")
    if region:
        from phonenumbers import SUPPORTED_REGIONS

        if region not in SUPPORTED_REGIONS:
            raise SettingError(
                f"unknown region {region!r}: give two capital letters, as in 'phone:DE'", (name,)
            )


def listed(redact: Redact) -> tuple[Rule, ...]:
    """Return the rules one by one; raise ConfigurationError for what is no rule."""
    rules = (redact,) if isinstance(redact, str) or callable(redact) else redact
    if not isinstance(rules, list | tuple):
        raise ConfigurationError(
            "redact takes names such as ['email', 'phone'] or functions from a text to the parts "
            f"to hide, got {redact!r}"
        )
    for rule in rules:
        if isinstance(rule, str):
            check_kind(rule)
        elif not callable(rule):
            raise ConfigurationError(
                f"a rule of redact is a name such as 'email' or a function, got {rule!r}"
            )
    return tuple(rules)


def _finder(rule: Rule) -> tuple[str, Finder]:
    if not isinstance(rule, str):
        return "private", rule
    kind, _, region = rule.partition(":")
    return kind, _phones(region) if region else KINDS[kind]


class Vault:
    """The hidden texts of one request and the placeholder of each, the same wherever it stands.

    What is spelled like a placeholder is hidden, too: nobody has a text restored by writing its
    placeholder into a document. `kept` are placeholders with their texts from before.
    """

    def __init__(self, rules: Sequence[Rule], kept: Mapping[str, str] | None = None) -> None:
        finders = [_finder(rule) for rule in rules]
        self._finders: list[tuple[str, Finder]] = [*finders, ("text", _PLACEHOLDER.findall)]
        self._kept = dict(kept or {})
        self._names = {text: name for name, text in self._kept.items()}
        self._known = set(self._names)
        self._searched: set[str] = set()

    @property
    def kept(self) -> dict[str, str]:
        """The placeholders with their texts."""
        return dict(self._kept)

    def search(self, value: Any) -> None:
        """Let the rules search plain data, so that what one text gives away is hidden in all."""
        if isinstance(value, Mapping):
            self.search([*value.keys(), *value.values()])
        elif isinstance(value, list | tuple):
            for one in value:
                self.search(one)
        elif isinstance(value, str) or _is_number(value):
            self._search(str(value))

    def hide(self, text: str) -> str:
        """Return a text with placeholders for all that the rules find or found before."""
        return self._replace(text, self._spans(text))

    def hide_piece(self, text: str) -> str:
        """Do so for a piece of a text that was cut anywhere: parts at its ends are hidden, too."""
        return self._replace(text, [*self._spans(text), *self._ends(text)])

    def hide_all(self, value: Any) -> Any:
        """Return plain data with every text and number in it hidden where a rule says so."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {self.hide_all(key): self.hide_all(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_all(one) for one in value]
        if _is_number(value):
            hidden = self.hide(str(value))
            return value if hidden == str(value) else hidden
        return value

    def restore(self, text: str) -> str:
        """Return a text with what its placeholders stand for."""
        return _PLACEHOLDER.sub(lambda found: self._kept.get(found[0], found[0]), text)

    def unfinished(self, text: str) -> int:
        """Return where a placeholder begins that the text does not finish, else the text's end."""
        start = text.rfind("[")
        if start >= 0 and any(
            len(name) > len(text) - start and name.startswith(text[start:]) for name in self._kept
        ):
            return start
        return len(text)

    def _search(self, text: str) -> None:
        if text in self._searched:
            return
        for kind, find in self._finders:
            for found in find(text):
                if not isinstance(found, str):
                    raise ConfigurationError(
                        f"a rule of redact must return the parts of the text to hide, got {found!r}"
                    )
                if found.strip():
                    self._name(found, kind)
                    self._known.add(found)
        self._searched.add(text)

    def _spans(self, text: str) -> list[Span]:
        self._search(text)
        return [
            (at.start(), at.end(), self._names[known])
            for known in self._known
            if known in text
            for at in re.finditer(re.escape(known), text)
        ]

    def _ends(self, text: str) -> list[Span]:
        """Return where the text begins or ends with half or more of something known."""
        ends: list[Span] = []
        for known in self._known:
            least = max(_LEAST_PART, (len(known) + 1) // 2)
            for size in range(min(len(known) - 1, len(text)), least - 1, -1):
                if text.endswith(known[:size]):
                    ends.append((len(text) - size, len(text), self._names[known]))
                if text.startswith(known[-size:]):
                    ends.append((0, size, self._names[known]))
        return ends

    def _replace(self, text: str, spans: Sequence[Span]) -> str:
        """Put placeholders over spans; those that overlap share one of the first one's kind."""
        hidden, done = "", 0
        for start, end, name in _merged(spans):
            kind = name[1:].partition("_")[0]
            hidden += text[done:start] + self._name(text[start:end], kind)
            done = end
        return hidden + text[done:]

    def _name(self, text: str, kind: str) -> str:
        if text not in self._names:
            name = f"[{kind.upper()}_{len(self._kept) + 1}]"
            self._kept[name], self._names[text] = text, name
        return self._names[text]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end, name in sorted(spans):
        if merged and start < merged[-1][1]:
            first, last, kept = merged[-1]
            merged[-1] = (first, max(end, last), kept)
        else:
            merged.append((start, end, name))
    return merged

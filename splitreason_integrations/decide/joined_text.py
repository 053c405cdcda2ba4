"""The text of rules that join with `|` and `&`: triggers and close rules share this grammar.

`&` binds before `|`, and parentheses group. A rule's text has no white space and none of `|&()"`;
a pattern follows it in double quotes, in which `""` is a quote and a backslash is itself.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from splitreason_integrations.checks import check_text
from splitreason_integrations.errors import ConfigurationError, SettingError

_TOKEN = re.compile(r'\s*(?:(?P<sign>[|&()])|(?P<rule>[^\s|&()"]+(?:"(?:[^"]|"")*")?))')
_RANKS = {"(": 0, "|": 1, "&": 2}
_MOST_RULES = 100


class Joinable(Protocol):
    """A value that joins with `|` and `&`."""

    def __or__(self, other: Any) -> Self: ...

    def __and__(self, other: Any) -> Self: ...


RuleT = TypeVar("RuleT", bound=Joinable)


@dataclass(frozen=True, slots=True)
class Form(Generic[RuleT]):
    """One form that the text of a rule can have.

    Attributes:
        pattern: A regular expression that the whole text matches.
        build: Makes the rule from the pattern's groups.

    """

    pattern: str
    build: Callable[..., RuleT]


@dataclass(frozen=True, slots=True)
class Grammar(Generic[RuleT]):
    """The texts of one kind of rules.

    Attributes:
        kind: What an error calls a rule: "trigger" or "close rule".
        forms: All forms of a single rule.
        examples: The forms as an error lists them.

    """

    kind: str
    forms: Sequence[Form[RuleT]]
    examples: str

    def parse(self, text: str) -> RuleT:
        """Return the rule that a text describes.

        Raises:
            ConfigurationError: The text has another form, or a number is out of range.

        """
        return _Reading(self, text).rule()

    def single(self, text: str) -> RuleT:
        """Return the rule that a text without `|`, `&` and parentheses describes."""
        for form in self.forms:
            found = re.fullmatch(form.pattern, text, re.DOTALL)
            if found is None:
                continue
            try:
                return form.build(*found.groups())
            except ConfigurationError as error:
                raise ConfigurationError(f"{self.kind} {text!r}: {error}") from error
        raise ConfigurationError(f"unknown {self.kind} {text!r}: use {self.examples}")


class _Reading(Generic[RuleT]):
    """Reads one text from left to right, with a stack of rules and one of signs."""

    def __init__(self, grammar: Grammar[RuleT], text: str) -> None:
        self._grammar = grammar
        self._text = text
        self._rules: list[RuleT] = []
        self._signs: list[str] = []
        self._wants_rule = True
        self._count = 0

    def rule(self) -> RuleT:
        """Return the rule that the whole text describes."""
        for sign, rule in self._tokens():
            if rule or sign == "(":
                self._open(sign, rule)
            elif self._wants_rule:
                raise self._error(f"there is no {self._grammar.kind} before {sign!r}")
            elif sign == ")":
                self._close()
            else:
                self._join(_RANKS[sign])
                self._signs.append(sign)
                self._wants_rule = True
        if self._wants_rule:
            raise self._error(f"a {self._grammar.kind} is missing at the end")
        self._join(_RANKS["|"])
        if self._signs:
            raise self._error("a parenthesis is not closed: add ')'")
        return self._rules.pop()

    def _tokens(self) -> Iterator[tuple[str, str]]:
        text = self._text.strip()
        if not text:
            raise ConfigurationError(
                f"unknown {self._grammar.kind} {self._text!r}: use {self._grammar.examples}"
            )
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or (found["rule"] and text.startswith('"', found.end())):
                raise self._error(
                    "a pattern in quotes follows its rule at once and ends with a quote, as in "
                    'keyword:"= "'
                )
            yield found["sign"] or "", found["rule"] or ""
            at = found.end()

    def _open(self, sign: str, rule: str) -> None:
        if not self._wants_rule:
            raise self._error(
                f"write | or & before {(sign or rule)!r}, and no spaces within a "
                f"{self._grammar.kind}"
            )
        if sign:
            self._signs.append(sign)
            return
        self._count += 1
        if self._count > _MOST_RULES:
            raise self._error(f"join at most {_MOST_RULES} in one text")
        self._rules.append(self._grammar.single(rule))
        self._wants_rule = False

    def _close(self) -> None:
        self._join(_RANKS["|"])
        if not self._signs:
            raise self._error("a ')' closes nothing: remove it, or add '(' before")
        self._signs.pop()

    def _join(self, rank: int) -> None:
        """Join the last rules whose sign binds at least as tightly as `rank`."""
        while self._signs and _RANKS[self._signs[-1]] >= rank:
            right, left = self._rules.pop(), self._rules.pop()
            self._rules.append(left & right if self._signs.pop() == "&" else left | right)

    def _error(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self._grammar.kind} {self._text!r}: {reason}")


def check_rule_text(name: str, text: Any, parse: Callable[[str], object]) -> None:
    """Check a setting that holds a rule's text; None is allowed.

    Raises:
        SettingError: `parse` refuses the text, or it is no text.

    """
    if text is None:
        return
    check_text(name, text)
    try:
        parse(text)
    except ConfigurationError as error:
        raise SettingError(str(error), (name,)) from error


def number(text: str) -> float:
    """Return the number that a text gives; raise ConfigurationError for another text."""
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is not a number such as 0.5") from error


def whole(text: str) -> int:
    """Return the whole number that a text gives; raise ConfigurationError for another text."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigurationError(f"{text!r} is not a whole number such as 2")
    return int(text)


def number_text(value: float) -> str:
    """Return a number as short text from which `number` returns exactly this value."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def quoted(pattern: str) -> str:
    """Return a pattern in quotes, as it is written in a joined text."""
    return '"' + pattern.replace('"', '""') + '"'


def unquoted(text: str) -> str:
    """Return the pattern that `quoted` put in quotes."""
    return text[1:-1].replace('""', '"')

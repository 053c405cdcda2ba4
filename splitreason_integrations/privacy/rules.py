"""The rules of redaction as they are given, and as they search one view of a text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.privacy.finders import Finder, NamedRule, check_kind, named_rule

Rule: TypeAlias = str | Finder
Redact: TypeAlias = Rule | Sequence[Rule]
"""One rule or several."""


def listed(redact: Redact) -> tuple[Rule, ...]:
    """Return the rules one by one.

    Raises:
        ConfigurationError: something in `redact` is not a rule.

    """
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


def check_installed(rules: Iterable[Rule]) -> None:
    """Raise MissingExtraError for a named rule whose package is not installed."""
    for rule in rules:
        as_named(rule)


def as_named(rule: Rule) -> NamedRule:
    """Return a rule as one that says where it finds something; a function's finds are located."""
    if isinstance(rule, str):
        return named_rule(rule)
    return NamedRule("private", _Located(rule))


@dataclass(frozen=True, slots=True)
class _Located:
    """Finds where the parts stand that a function returns."""

    rule: Finder

    def __call__(self, text: str) -> Iterator[tuple[int, int]]:
        for part in dict.fromkeys(_parts(self.rule, text)):
            at = text.find(part)
            while at >= 0:
                yield at, at + len(part)
                at = text.find(part, at + len(part))


def _parts(rule: Finder, text: str) -> list[str]:
    """Return what a function finds; errors name the function and say nothing of the text."""
    failure, parts = "", list[Any]()
    try:
        found = rule(text)
        if isinstance(found, str) or not isinstance(found, Iterable):
            failure = f"must return a list of the parts of the text to hide, got {_kind(found)}"
        else:
            parts = list(found)
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        failure = f"raised {type(error).__name__}{_line(error)}; it is shown without its message"
    odd = next((part for part in parts if not isinstance(part, str)), "")
    if not isinstance(odd, str):
        failure = f"must return the parts of the text to hide, got one of type {type(odd).__name__}"
    if failure:
        # Outside of the block: an error keeps the one that it was raised within.
        raise ConfigurationError(f"a rule of redact, {rule_name(rule)}, {failure}")
    return [part for part in parts if part.strip()]


def rule_name(rule: Callable[..., Any]) -> str:
    """Return what a function is called in errors: its module and name."""
    function = getattr(rule, "func", rule)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{name}"


def _kind(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _line(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" in line {trace.tb_lineno} of {trace.tb_frame.f_code.co_filename}"

"""Texts hidden from remote models: the rules that find them and the vault that stores them.

A rule is one of `KINDS` or a function from a text to the parts of it to hide. `"phone"` knows
international numbers and North American ones; `"phone:DE"` those of a region, too.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.privacy.finders import Finder, check_kind, finder

Rule: TypeAlias = str | Finder
Redact: TypeAlias = Rule | Sequence[Rule]
"""One rule or several."""

Span: TypeAlias = tuple[int, int, str]
"""Where something to hide begins and ends, and its placeholder."""

_PLACEHOLDER = re.compile(r"\[(?:EMAIL|PHONE|CARD|KEY|PRIVATE|TEXT)_\d{1,9}\]")
_FORM = frozenset(
    [
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "reasoning_content",
        "id",
        "type",
        "function",
        "arguments",
        "parameters",
        "description",
        "properties",
        "required",
        "items",
        "enum",
        "default",
        "additionalProperties",
        "title",
        "anyOf",
        "oneOf",
        "allOf",
        "format",
        "system",
        "user",
        "assistant",
        "tool",
        "string",
        "number",
        "integer",
        "boolean",
        "object",
        "array",
        "null",
    ]
)
"""Words of a conversation's format: not private, and chat templates look for them."""
_LEAST_PART = 4
_BEGIN = 4
"""Known texts are looked up by this many first characters: time grows with the text alone."""


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
        _finder(rule)


def _finder(rule: Rule) -> tuple[str, Finder]:
    if not isinstance(rule, str):
        return "private", rule
    return rule.partition(":")[0], finder(rule)


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
        self._known: set[str] = set()
        self._lengths: dict[str, set[int]] = {}
        for text in self._names:
            self._know(text)
        self._searched: set[str] = set()

    @property
    def kept(self) -> dict[str, str]:
        """The placeholders with their texts."""
        return dict(self._kept)

    def search(self, value: Any) -> None:
        """Let the rules search plain data, so that what one text gives away is hidden in all."""
        if isinstance(value, Mapping):
            self.search([*value.keys(), *value.values()])
        elif _is_list(value):
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
            return {
                key if key in _FORM else self.hide_all(key): (
                    one if key in ("role", "type") and _is_form(one) else self.hide_all(one)
                )
                for key, one in value.items()
            }
        if _is_list(value):
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
            for found in _parts(find(text)):
                if not isinstance(found, str):
                    raise ConfigurationError(
                        f"a rule of redact must return the parts of the text to hide, got {found!r}"
                    )
                if found.strip():
                    for form in _forms(found):
                        self._name(form, kind)
                        self._know(form)
        self._searched.add(text)

    def _spans(self, text: str) -> list[Span]:
        self._search(text)
        begins = {len(begin) for begin in self._lengths}
        return [
            (at, at + length, self._names[text[at : at + length]])
            for at in range(len(text))
            for size in begins
            for length in self._lengths.get(text[at : at + size], ())
            if at + length <= len(text) and text[at : at + length] in self._known
        ]

    def _know(self, text: str) -> None:
        self._known.add(text)
        self._lengths.setdefault(text[:_BEGIN], set()).add(len(text))

    def _ends(self, text: str) -> list[Span]:
        """Return where the text begins or ends with half or more of something known."""
        ends: list[Span] = []
        # Some tokenizers need a line break before a piece; it is no part of it.
        lead = len(text) - len(text.lstrip("\n"))
        for known in self._known:
            least = max(_LEAST_PART, (len(known) + 1) // 2)
            for size in range(min(len(known) - 1, len(text)), least - 1, -1):
                if text.endswith(known[:size]):
                    ends.append((len(text) - size, len(text), self._names[known]))
                if text.startswith(known[-size:], lead):
                    ends.append((lead, lead + size, self._names[known]))
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


def _parts(found: Any) -> Iterable[Any]:
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise ConfigurationError(
            f"a rule of redact must return a list of the parts of the text to hide, got {found!r}"
        )
    return found


def _forms(text: str) -> list[str]:
    """Return a text as it is and as it stands inside JSON, where that is another one."""
    if text.isascii() and text.isprintable() and not {'"', "\\"} & set(text):
        return [text]
    inside = [json.dumps(text, ensure_ascii=ascii_alone)[1:-1] for ascii_alone in (True, False)]
    return list(dict.fromkeys([text, *inside]))


def _is_form(value: Any) -> bool:
    return (
        value in _FORM if isinstance(value, str) else _is_list(value) and all(map(_is_form, value))
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | Set) and not isinstance(value, str | bytes)


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


def check_kept(kept: Mapping[str, str]) -> None:
    """Raise ValueError unless these can be the placeholders of a vault, each with its text.

    A text as its own placeholder would leave as it is; two of one number would be mistaken for one
    another.
    """
    numbers = sorted(int(name[1:-1].rpartition("_")[2]) for name in filter(_is_placeholder, kept))
    if numbers != list(range(1, len(kept) + 1)):
        raise ValueError("hidden must have placeholders alone, numbered from 1 on")
    if len(set(kept.values())) < len(kept) or not all(map(str.strip, kept.values())):
        raise ValueError("hidden has an empty text, or one text twice")
    # A text of the user may be spelled like the placeholder that it gets.
    if any(name == text and not name.startswith("[TEXT_") for name, text in kept.items()):
        raise ValueError("hidden has a placeholder that stands for itself")


def _is_placeholder(text: str) -> bool:
    return _PLACEHOLDER.fullmatch(text) is not None

"""Texts hidden from remote models: the vault that finds them, names them and restores them.

A rule is one of `KINDS` or a function from a text to the parts of it to hide. `"phone"` knows
international numbers and North American ones; `"phone:DE"` those of a region, too. Each rule
searches a text in all the ways in which it may be read (`views`), and the original is hidden.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

from splitreason_integrations.privacy.known import Known
from splitreason_integrations.privacy.named import secret_parts
from splitreason_integrations.privacy.names import is_for_passwords
from splitreason_integrations.privacy.placeholders import kind_of, pattern_of, written
from splitreason_integrations.privacy.rules import Redact, Rule, as_named, check_installed, listed
from splitreason_integrations.privacy.structure import (
    FORM,
    children,
    is_form,
    is_list,
    is_number,
    parsed,
)
from splitreason_integrations.privacy.views import decoded_forms, views

__all__ = ["Redact", "Rule", "Vault", "check_installed", "listed"]

Span: TypeAlias = tuple[int, int, str]
"""Where something to hide begins and ends, and its kind."""

_LEAST_KNOWN = 6
_LONGEST_KNOWN = 8192
_TAIL = 4096
"""How much of what was said before a piece is looked at with it."""


class SearchEndedError(Exception):
    """A search was ended before all was searched."""


class Vault:
    """The hidden texts of one request and the placeholder of each, the same wherever it stands.

    What is spelled like a placeholder is hidden, too: nobody has a text restored by writing its
    placeholder into a document. `kept` are placeholders with their texts from before.
    """

    def __init__(self, rules: Sequence[Rule], kept: Mapping[str, str] | None = None) -> None:
        self._rules = [as_named(rule) for rule in rules]
        self._placeholder = pattern_of(rule.kind for rule in self._rules)
        self._kept = dict(kept or {})
        self._names = {text: name for name, text in self._kept.items()}
        self._known = Known()
        for name, text in self._kept.items():
            self._know(text, kind_of(name))
        self._found: dict[str, list[Span]] = {}
        self._judges_names = any(rule.judges_names for rule in self._rules)
        self._goes_on: Callable[[], bool] = _always

    @property
    def kept(self) -> dict[str, str]:
        """The placeholders with their texts."""
        return dict(self._kept)

    def search(self, value: Any, *, goes_on: Callable[[], bool] | None = None) -> None:
        """Let the rules search plain data, so that what one text gives away is hidden in all.

        Args:
            value: messages, tools, or any other plain data.
            goes_on: asked again and again; once it returns False, the search ends.

        Raises:
            SearchEndedError: `goes_on` returned False. What was searched by then stays known.
            ConfigurationError: a rule failed.

        """
        self._goes_on = goes_on or _always
        try:
            self._search_all(value)
        finally:
            self._goes_on = _always

    def hide(self, text: str) -> str:
        """Return a text with placeholders for all that the rules find or found before."""
        return self._replace(text, self._spans(text))

    def hide_piece(self, text: str, before: str = "") -> str:
        """Do so for a piece of a text that was cut anywhere.

        What has begun before the piece, or begins at its end, is hidden as far as it is in it.

        Args:
            text: the piece.
            before: what was said right before it.

        """
        tail = before[-_TAIL:]
        whole, start = tail + text, len(tail)
        spans = [*self._spans_of(text), *self._known.ends(text)]
        if tail:
            spans += self._moved(self._spans_of(whole), start, len(whole))
        spans += self._moved(self._begun(whole), start, len(whole))
        return self._replace(text, spans)

    def came_together(self, said: Sequence[tuple[str, bool]]) -> list[str]:
        """Return what the remote model and others wrote together, each a part of it.

        Args:
            said: pieces in their order, and whether the remote model wrote each itself.

        """
        text = "".join(piece for piece, _ in said)
        own = [is_own for piece, is_own in said for _ in piece]
        found = [
            text[start:end]
            for start, end, _ in self._spans_of(text)
            if any(own[start:end]) and not all(own[start:end])
        ]
        return list(dict.fromkeys(found))

    def hide_all(self, value: Any) -> Any:
        """Return plain data with every text and number in it hidden where a rule says so."""
        self.search(value)
        return self._hidden(value)

    def restore(self, text: str) -> str:
        """Return a text with what its placeholders stand for."""
        return self._placeholder.sub(lambda found: self._kept.get(found[0], found[0]), text)

    def unfinished(self, text: str) -> int:
        """Return where a placeholder begins that the text does not finish, else the text's end."""
        start = text.rfind("[")
        if start >= 0 and any(
            len(name) > len(text) - start and name.startswith(text[start:]) for name in self._kept
        ):
            return start
        return len(text)

    def _search_all(self, value: Any, under: str | None = None) -> None:
        if isinstance(value, Mapping) or is_list(value):
            for place, one, name in children(value, under):
                if isinstance(place, str):
                    self._look(place)
                self._search_all(one, name)
            if is_list(value):
                self._look_over(value)
        elif isinstance(value, str) or is_number(value):
            self._look(str(value))
            self._judge(value, under)

    def _judge(self, value: Any, under: str | None) -> None:
        """Note the values of secret names, also in data that are written as text."""
        if not self._judges_names:
            return
        if isinstance(value, Mapping) or is_list(value):
            for _, one, name in children(value, under):
                self._judge(one, name)
            return
        for start, end in _secret_parts(under, value):
            self._note(str(value)[start:end], "key")
        if isinstance(value, str):
            for data in parsed(value):
                self._judge(data, under)

    def _look(self, text: str) -> list[Span]:
        """Let the rules search a text; return where they found something."""
        if text not in self._found:
            self._found[text] = self._searched(text)
            self._judge(text, None)
        return self._found[text]

    def _searched(self, text: str) -> list[Span]:
        spans = list[Span]()
        for view in views(text):
            for rule in self._rules:
                for start, end in rule.find(view.text):
                    if not self._goes_on():
                        raise SearchEndedError
                    if end > start:
                        first, last = view.origin(start, end)
                        spans.append((first, last, rule.kind))
                        self._note(view.text[start:end], rule.kind, in_words=rule.in_words)
                        self._name(text[first:last], rule.kind)
                if not self._goes_on():
                    raise SearchEndedError
        spans += ((*found.span(), "text") for found in self._placeholder.finditer(text))
        return spans

    def _look_over(self, messages: Iterable[Any]) -> None:
        """Find what is split over the texts of messages that follow each other."""
        texts = [one["content"] for one in messages if _has_content(one)]
        joining = [rule for rule in self._rules if rule.joins]
        if len(texts) < 2 or not joining:
            return
        whole, starts = "".join(texts), [0, *accumulate(map(len, texts))][:-1]
        for view in views(whole):
            for rule in joining:
                for first, last in rule.find(view.text):
                    start, end = view.origin(first, last)
                    self._split(texts, starts, (start, end, rule.kind))
                if not self._goes_on():
                    raise SearchEndedError

    def _split(self, texts: Sequence[str], starts: Sequence[int], span: Span) -> None:
        """Note the parts of what is split over texts, unless the first text holds all of it."""
        start, end, kind = span
        parts = [
            (text, max(start - at, 0), min(end - at, len(text)))
            for text, at in zip(texts, starts, strict=True)
            if start < at + len(text) and end > at
        ]
        if len(parts) < 2:
            return
        text, first, last = parts[0]
        if any(a <= first and b >= last for a, b, _ in self._look(text)):
            return
        for text, first, last in parts:
            self._look(text).append((first, last, kind))

    def _spans(self, text: str) -> list[Span]:
        return [*self._look(text), *self._known_places(text)]

    def _spans_of(self, text: str) -> list[Span]:
        """Return the spans of a text that is not searched again."""
        return [*self._searched(text), *self._known_places(text)]

    def _known_places(self, text: str) -> Iterator[Span]:
        for view in views(text):
            for start, end, kind in self._known.places(view.text):
                yield (*view.origin(start, end), kind)

    def _begun(self, text: str) -> Iterator[Span]:
        """Yield what has begun at the end of a text that may go on."""
        for view in views(text):
            for rule in self._rules:
                for start, end in rule.find_begun(view.text) if rule.find_begun else ():
                    if end > start:
                        first, last = view.origin(start, end)
                        yield first, len(text) if end == len(view.text) else last, rule.kind

    def _moved(self, spans: Iterable[Span], start: int, end: int) -> Iterator[Span]:
        """Yield what of some spans lies between two places, counted from the first."""
        for first, last, kind in spans:
            if last > start and last <= end:
                yield max(first - start, 0), last - start, kind

    def _hidden(self, value: Any, under: str | None = None) -> Any:
        if isinstance(value, Mapping):
            hidden = dict[Any, Any]()
            for name, one, inner in children(value, under):
                is_kept = name in ("role", "type") and is_form(one)
                hidden[name if name in FORM else self._hidden(name)] = (
                    one if is_kept else self._hidden(one, inner)
                )
            return hidden
        if is_list(value):
            return [self._hidden(one, inner) for _, one, inner in children(value, under)]
        if isinstance(value, str) or is_number(value):
            text = str(value)
            secret = _secret_parts(under, value) if self._judges_names else []
            named = [(start, end, "key") for start, end in secret]
            hidden_text = self._replace(text, [*self._spans(text), *named])
            return value if hidden_text == text else hidden_text
        return value

    def _note(self, text: str, kind: str, *, in_words: bool = False) -> None:
        """Have a text that was found be known in every way in which it may be read."""
        for form in decoded_forms(text) if len(text) <= _LONGEST_KNOWN else ():
            self._know(form, kind, in_words=in_words)

    def _know(self, text: str, kind: str, *, in_words: bool = False) -> None:
        is_short = len(text) < _LEAST_KNOWN and kind == "key"
        if text.strip() and not is_short and len(text) <= _LONGEST_KNOWN and text not in FORM:
            self._known.add(text, kind, in_words=in_words)

    def _replace(self, text: str, spans: Iterable[Span]) -> str:
        """Put placeholders over spans; those that overlap share one of the first one's kind."""
        parts, done = list[str](), 0
        for start, end, kind in _merged(spans):
            parts += (text[done:start], self._name(text[start:end], kind))
            done = end
        return "".join([*parts, text[done:]])

    def _name(self, text: str, kind: str) -> str:
        if text not in self._names:
            name = written(kind, len(self._kept) + 1)
            self._kept[name], self._names[text] = text, name
        return self._names[text]


def _always() -> bool:
    return True


def _has_content(message: Any) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("content"), str)


def _secret_parts(name: str | None, value: Any) -> list[tuple[int, int]]:
    """Return the parts to hide of a text or a number under a secret name."""
    if name is None:
        return []
    if isinstance(value, str):
        return [] if value in FORM else secret_parts(name, value)
    least = 4 if is_for_passwords(name) else 6
    return [(0, len(str(value)))] if is_number(value) and len(str(value)) >= least else []


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end, kind in sorted(spans):
        if merged and start < merged[-1][1]:
            first, last, kept = merged[-1]
            merged[-1] = (first, max(end, last), kept)
        else:
            merged.append((start, end, kind))
    return merged

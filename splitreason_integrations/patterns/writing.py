"""Writes a regular expression of Python's in the syntax of RE2, with the meaning that it had.

What depends on how a text's characters are written is up to an `Alphabet`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import Any

from splitreason_integrations.patterns.alphabets import NOTHING, Alphabet, Sets
from splitreason_integrations.patterns.characters import (
    ANY,
    NEWLINE,
    Characters,
    category,
    without_case,
)

MOST_WRITTEN = 1_000_000
"""Most characters of a pattern as RE2 reads it."""
MOST_TIMES = 1000
"""RE2 repeats no more often, over all levels: `(a{30}){30}` repeats 900 times."""
_CATEGORIES = {
    f"CATEGORY_{'NOT_' * negated}{name}": letter.upper() if negated else letter
    for name, letter in {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}.items()
    for negated in (False, True)
}


class Feature(Enum):
    """What a pattern may have in Python and not here; the value says so."""

    LOOK = "it looks ahead or behind"
    REFERENCE = "it refers back to a group"
    CONDITION = "it has a condition on a group"
    ATOMIC = "it has an atomic group"
    POSSESSIVE = "it has a possessive repetition"
    TIMES = "it repeats something more than 1000 times"
    SIZE = "it is too large"
    ENDS = "it has $ both with and without (?m)"
    BOUNDARIES = r"it has \b both with and without (?a)"
    NO_BOUNDARY = r"it has \B and can match nothing"
    OTHER = "it has something that RE2 does not know"


class UnwritableError(Exception):
    """RE2 has nothing for a feature of a pattern."""

    def __init__(self, feature: Feature) -> None:
        super().__init__(feature.value)
        self.feature = feature


@dataclass(slots=True)
class Tree:
    """A pattern as Python reads it, and what of it RE2 lacks.

    Attributes:
        items: What follows each other in the pattern.
        flags: Its flags, those that it sets itself among them.
        ends: It has a `$` that also matches before a newline at the end of the text.
        lines: It has a `^` or `$` that matches at every line.
        boundaries: Whether it has word boundaries of ASCII and of Unicode.
        inner: It has places that are no word boundaries.
        sets: The sets of characters that it tells apart.
        conditions: What it looks ahead for at the start of the text, and whether that must be there
            or must not.

    """

    items: Any
    flags: int
    ends: bool = False
    lines: bool = False
    boundaries: set[bool] = field(default_factory=set)
    inner: bool = False
    sets: tuple[Characters, ...] = ()
    conditions: tuple[tuple["Tree", bool], ...] = ()

    @property
    def wraps(self) -> bool:
        """Whether it has word boundaries of Unicode."""
        return False in self.boundaries


def read(pattern: str, flags: int) -> Tree:
    """Return a pattern as Python reads it.

    Raises re.error, OverflowError or RecursionError where Python does, and UnwritableError.
    """
    # The only parser that cannot differ from Python's is Python's own.
    parsed = import_module("re._parser").parse(pattern, flags)
    flags, items, conditions = parsed.state.flags, list(parsed), []
    if items and _is_start(items[0], flags):
        while len(items) > 1 and _looks_ahead(items[1]):
            kind, (_, inner) = items.pop(1)
            looked = _checked([items[0], *inner], flags, width=inner.getwidth()[0])
            conditions.append((looked, str(kind) == "ASSERT"))
    tree = _checked(items, flags, width=parsed.getwidth()[0])
    tree.conditions = tuple(conditions)
    return tree


def _is_start(item: tuple[Any, Any], flags: int) -> bool:
    name = str(item[1]) if str(item[0]) == "AT" else ""
    return name == "AT_BEGINNING_STRING" or (name == "AT_BEGINNING" and not flags & re.MULTILINE)


def _looks_ahead(item: tuple[Any, Any]) -> bool:
    return str(item[0]) in ("ASSERT", "ASSERT_NOT") and item[1][0] > 0


def _checked(items: Any, flags: int, *, width: int) -> Tree:
    """Return a tree; raise UnwritableError for what RE2 does not have."""
    tree, sets = Tree(items, flags), Sets()
    Writer(tree, sets).text()
    tree.sets = tuple(sets.noted)
    if tree.wraps:
        tree.sets += (category(r"\w", ascii_only=False),)
    if tree.ends and tree.lines:
        raise UnwritableError(Feature.ENDS)
    if len(tree.boundaries) > 1:
        raise UnwritableError(Feature.BOUNDARIES)
    if tree.inner and width == 0:
        raise UnwritableError(Feature.NO_BOUNDARY)
    return tree


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the pattern as RE2 reads it, and how often it repeats something within."""

    text: str
    times: int = 1


class Writer:
    """Writes one tree for one alphabet."""

    def __init__(self, tree: Tree, alphabet: Alphabet, *, groups: bool = False) -> None:
        self._tree = tree
        self._alphabet = alphabet
        self._groups = groups

    def text(self) -> str:
        """Return the pattern in RE2's syntax.

        Raises UnwritableError for what RE2 does not have.
        """
        return self._sequence(self._tree.items, self._tree.flags).text

    def _sequence(self, items: Iterable[tuple[Any, Any]], flags: int) -> _Piece:
        return _joined((self._item(str(kind), value, flags) for kind, value in items), "")

    def _item(self, kind: str, value: Any, flags: int) -> _Piece:
        if kind in _CHARACTERS:
            return _Piece(self._alphabet.one_of(_CHARACTERS[kind](value, flags)))
        if kind == "AT":
            return _Piece(self._place(str(value), flags))
        if kind == "SUBPATTERN":
            group, added, removed, inner = value
            written = self._sequence(inner, (flags | added) & ~removed)
            opened = "(" if self._groups and group is not None else "(?:"
            return _Piece(f"{opened}{written.text})", written.times)
        if kind == "BRANCH":
            written = _joined((self._sequence(one, flags) for one in value[1]), "|")
            return _Piece(f"(?:{written.text})", written.times)
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            lazy = "?" if kind == "MIN_REPEAT" else ""
            return _repeated(self._sequence(inner, flags), int(least), _most(most), lazy)
        if kind == "FAILURE" or (kind == "ASSERT_NOT" and not value[1]):
            return _Piece(NOTHING)
        raise UnwritableError(_FEATURES.get(kind, Feature.OTHER))

    def _place(self, place: str, flags: int) -> str:
        tree = self._tree
        if place == "AT_BEGINNING_STRING" or (place == "AT_BEGINNING" and not flags & re.MULTILINE):
            return r"\A"
        if place == "AT_END_STRING":
            return r"\z"
        if place in ("AT_BEGINNING", "AT_END"):
            if flags & re.MULTILINE:
                tree.lines = True
            else:
                tree.ends = True
            return "(?m:^)" if place == "AT_BEGINNING" else "(?m:$)"
        if place in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
            tree.boundaries.add(bool(flags & re.ASCII))
            tree.inner |= place == "AT_NON_BOUNDARY"
            return r"\B" if place == "AT_NON_BOUNDARY" else r"\b"
        raise UnwritableError(Feature.OTHER)


_FEATURES = {
    "ASSERT": Feature.LOOK,
    "ASSERT_NOT": Feature.LOOK,
    "GROUPREF": Feature.REFERENCE,
    "GROUPREF_EXISTS": Feature.CONDITION,
    "ATOMIC_GROUP": Feature.ATOMIC,
    "POSSESSIVE_REPEAT": Feature.POSSESSIVE,
}


def _joined(pieces: Iterable[_Piece], sign: str) -> _Piece:
    texts, times, size = [], 1, 0
    for piece in pieces:
        texts.append(piece.text)
        times = max(times, piece.times)
        size += len(piece.text)
        if size > MOST_WRITTEN:
            raise UnwritableError(Feature.SIZE)
    return _Piece(sign.join(texts), times)


def _most(most: Any) -> int | None:
    return None if str(most) == "MAXREPEAT" else int(most)


def _repeated(inner: _Piece, least: int, most: int | None, lazy: str) -> _Piece:
    text = f"(?:{inner.text})"
    for sign, bounds in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
        if bounds == (least, most):
            return _Piece(f"{text}{sign}{lazy}", inner.times)
    times = inner.times * max(1, least if most is None else most)
    if times > MOST_TIMES:
        raise UnwritableError(Feature.TIMES)
    bounds_text = f"{least},{'' if most is None else most}"
    return _Piece(f"{text}{{{bounds_text}}}{lazy}", times)


def _literal(value: int, flags: int) -> Characters:
    return _cased(Characters(((value, value),)), flags)


def _dot(_: None, flags: int) -> Characters:
    return ANY if flags & re.DOTALL else ~NEWLINE


def _set(items: Iterable[tuple[Any, Any]], flags: int) -> Characters:
    ranges, named, negated = [], Characters(), False
    for kind, value in items:
        if str(kind) == "NEGATE":
            negated = True
        elif str(kind) == "CATEGORY":
            name = _CATEGORIES[str(value)]
            named |= category(name, ascii_only=bool(flags & re.ASCII))
        else:
            ranges.append((value, value) if str(kind) == "LITERAL" else value)
    found = named | _cased(Characters.of(ranges), flags)
    return ~found if negated else found


def _cased(characters: Characters, flags: int) -> Characters:
    if not flags & re.IGNORECASE:
        return characters
    return without_case(characters, ascii_only=bool(flags & re.ASCII))


_CHARACTERS: Mapping[str, Callable[[Any, int], Characters]] = {
    "LITERAL": _literal,
    "NOT_LITERAL": lambda value, flags: ~_literal(value, flags),
    "ANY": _dot,
    "IN": _set,
    "CATEGORY": lambda value, flags: _set([("CATEGORY", value)], flags),
}

"""Keywords of texts, numbers, lists and names, as far as a grammar can hold them.

What it cannot hold is left out: a value that the grammar lets through is checked afterwards.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.patterns.scanning import class_end, group_end
from splitreason_integrations.text.held_names import kind_of, kinds_in
from splitreason_integrations.text.schemas import place_of

Piece = dict[str, Any]

MOST_ITEMS = 5000
"""Longest list whose items, and largest object whose properties, a grammar counts."""
MOST_CHARACTERS = 1_000_000
"""Longest text whose characters a grammar counts."""
_UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-%d[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
_FORMATS = {f"uuid{version}": _UUID % version for version in range(1, 9)}
_MOST = {
    **dict.fromkeys(("minLength", "maxLength"), MOST_CHARACTERS),
    **dict.fromkeys(("minItems", "maxItems", "minProperties", "maxProperties"), MOST_ITEMS),
}
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
_COPIED = frozenset({"type", "const", "enum", "required", "multipleOf", *sum(_BOUNDS, ()), *_MOST})
KEYWORDS = _COPIED | {
    *("pattern", "format", "properties", "patternProperties", "additionalProperties"),
    *("propertyNames", "items", "prefixItems", "additionalItems", "unevaluatedItems"),
    "uniqueItems",
}
"""Keywords of a schema that say something of a value themselves, as far as grammars hold them."""
_NOT_ONLY = re.compile(r"\(\?!\^?\[((?:[^\]\\^]|\\.)(?:[^\]\\]|\\.)*)\]\*\$\)")
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
_ESCAPES = {r"\Z": "$", r"\z": "$", r"\A": "^"}
_UNSATISFIABLE = "Unsatisfiable"


@lru_cache(maxsize=4096)
def problem_of(schema: str) -> str:
    """Return why llguidance cannot hold a schema, given as JSON; empty where it can."""
    from llguidance import LLMatcher

    return str(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(f"start: %json {schema}")))


def problem_with(schema: Mapping[str, Any]) -> str:
    """Return why llguidance cannot hold a schema; empty where it can."""
    return problem_of(json.dumps(schema))


def is_held(schema: Mapping[str, Any]) -> bool:
    """Return whether llguidance can hold a schema, or knows that nothing fits it."""
    said = problem_with(schema)
    return not said or _UNSATISFIABLE in said


def held_plain(plain: Mapping[str, Any], path: Sequence[str]) -> Piece:
    """Return the keywords that stay as they are, but for bounds that no grammar can hold.

    Raises RequestError for a least number that no reply can reach.
    """
    piece = {key: kept for key, kept in plain.items() if key in _COPIED}
    for key in ("minProperties", "maxProperties"):
        piece.pop(key, None)
    _bound(piece, path)
    if "enum" in piece and "type" in piece:
        # Values are compared with the type here: llguidance would do so one by one.
        fitting = [one for one in piece["enum"] if kind_of(one) in kinds_in(piece["type"])]
        if fitting:
            del piece["type"]
            piece["enum"] = fitting
    step = piece.get("multipleOf")
    if step is not None and not is_held({"type": "number", "multipleOf": step}):
        del piece["multipleOf"]
    return piece


def _bound(piece: Piece, path: Sequence[str]) -> None:
    """Leave out upper bounds that no grammar can hold; write those of draft 4 as later drafts do.

    There a flag makes a bound exclusive.
    """
    for key in _MOST.keys() & piece.keys():
        if piece[key] <= _MOST[key]:
            continue
        if key.startswith("min"):
            raise RequestError(
                f"the schema's {key} of {piece[key]:,} at {place_of(path)} is more than the "
                f"{_MOST[key]:,} that can be held: ask for fewer"
            )
        del piece[key]
    for bound, exclusive in _BOUNDS:
        if isinstance(said := piece.get(exclusive), bool):
            del piece[exclusive]
            if said and bound in piece:
                piece[exclusive] = piece.pop(bound)


def held_text(piece: Mapping[str, Any]) -> list[Piece]:
    """Return schemas that together say what the pattern and the format of a text say.

    A pattern that a grammar cannot hold is left out. A format is an annotation: it is left out
    where no grammar knows it, and where it contradicts the other keywords.
    """
    kind = piece.get("format")
    bounds = {key: piece[key] for key in ("minLength", "maxLength") if key in piece}
    formats: list[Piece] = []
    if isinstance(kind, str) and not {"const", "enum"} & piece.keys():
        formats.append({"pattern": _FORMATS[kind]} if kind in _FORMATS else {"format": kind})
    patterns = [
        {"pattern": one}
        for one in without_look_around(piece.get("pattern", ""))
        if one and is_held({"type": "string", "pattern": one})
    ]
    for found in (formats + patterns, patterns, patterns[:1]):
        said = problem_with({"type": "string", **bounds, "allOf": found})
        if not said or (found is patterns and _UNSATISFIABLE in said):
            return found
    return []


def without_look_around(pattern: str) -> list[str]:
    """Return patterns that together say what one says, or as nearly as they can.

    What looks ahead at a pattern's start becomes a pattern of its own; elsewhere it is left out.
    """
    for before, after in _ESCAPES.items():
        pattern = pattern.replace(before, after)
    apart: list[str] = []
    start = "^" if pattern.startswith("^") else ""
    rest = pattern.removeprefix("^")
    while start and rest.startswith(_LOOK_AROUND):
        end = group_end(rest, 0)
        looked, rest = rest[:end], rest[end:]
        if looked.startswith("(?="):
            apart += without_look_around(f"^(?:{looked[3:-1].removeprefix('^')})")
        elif only := _NOT_ONLY.fullmatch(looked):
            apart.append(f"[^{only[1]}]")
    return [start + _cut(rest), *apart]


def _cut(pattern: str) -> str:
    """Return a pattern without what looks around in it."""
    at, kept = 0, ""
    while at < len(pattern):
        if pattern[at] == "\\":
            kept, at = kept + pattern[at : at + 2], at + 2
        elif pattern[at] == "[":
            end = class_end(pattern, at)
            kept, at = kept + pattern[at:end], end
        elif pattern.startswith(_LOOK_AROUND, at):
            at = group_end(pattern, at)
        else:
            kept, at = kept + pattern[at], at + 1
    return kept

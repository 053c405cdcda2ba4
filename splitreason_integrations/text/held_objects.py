"""Properties of an object, as far as a grammar can hold them."""

from collections.abc import Mapping
from typing import Any, Protocol

from splitreason_integrations.text.held_keywords import (
    Piece,
    is_held,
    problem_with,
    without_look_around,
)

_MOST_NAMES = 1000
"""Most names that a map's keys are spelled out for."""


class Writer(Protocol):
    """What writes the inner schemas."""

    def used(self, schema: Any, step: str) -> Any:
        """Return the schema of a whole value."""
        ...

    def followed(self, schema: Any) -> Any:
        """Return a schema, or that to which it refers."""
        ...


def held_properties(plain: Mapping[str, Any], writer: Writer, *, counts: bool) -> Piece:
    """Return the keywords of an object's properties.

    Args:
        plain: the keywords of a schema.
        writer: writes the inner schemas.
        counts: whether no other schema speaks of the same object, so that its properties can be
            counted.

    """
    found: Piece = {}
    if "properties" in plain:
        found["properties"] = {
            name: writer.used(one, f"properties/{name}")
            for name, one in plain["properties"].items()
        }
    if plain.get("patternProperties"):
        found |= _by_pattern(plain["patternProperties"], writer)
    if "additionalProperties" in plain and "additionalProperties" not in found:
        other = plain["additionalProperties"]
        found["additionalProperties"] = writer.used(other, "additionalProperties")
    if "propertyNames" in plain and found.get("additionalProperties", True) is not False:
        _spell_names(found, writer.followed(plain["propertyNames"]))
    return {**found, **(_counted(plain, found) if counts else {})}


def _by_pattern(patterns: Mapping[str, Any], writer: Writer) -> Piece:
    """Return the schemas of properties by pattern; one pattern joins those that overlap."""
    written = {
        pattern: writer.used(one, f"patternProperties/{pattern}")
        for pattern, one in patterns.items()
    }
    held = {}
    for pattern, one in written.items():
        first = without_look_around(pattern)[0]
        if not is_held({"type": "object", "patternProperties": {first: {}}}):
            return {"additionalProperties": {"anyOf": list(written.values())}}
        held[first] = one
    if len(held) > 1 and problem_with({"patternProperties": dict.fromkeys(held, True)}):
        joined = "|".join(f"(?:{pattern})" for pattern in held)
        held = {joined: {"anyOf": list(held.values())}}
    return {"patternProperties": held}


def _spell_names(found: Piece, names: Any) -> None:
    """Give the keys of a map the form that `propertyNames` asks of them."""
    if not isinstance(names, Mapping):
        return
    other = found.get("additionalProperties", True)
    spelled = [names["const"]] if "const" in names else names.get("enum")
    if spelled is not None and len(spelled) <= _MOST_NAMES:
        known = {name: other for name in spelled if isinstance(name, str)}
        found["properties"] = {**known, **found.get("properties", {})}
        found["additionalProperties"] = False
    elif isinstance(names.get("pattern"), str) and "patternProperties" not in found:
        pattern = without_look_around(names["pattern"])[0]
        if is_held({"type": "object", "patternProperties": {pattern: {}}}):
            found["patternProperties"] = {pattern: other}
            found["additionalProperties"] = False


def _counted(plain: Mapping[str, Any], found: Piece) -> Piece:
    """Return how many properties there may be, where a grammar can count them."""
    bounds = {key: plain[key] for key in ("minProperties", "maxProperties") if key in plain}
    if not bounds:
        return {}
    names: Piece = {
        key: dict.fromkeys(found.get(key, ()), True) for key in ("properties", "patternProperties")
    }
    others = {"additionalProperties": found.get("additionalProperties", True) is not False}
    required = {"type": "object", "required": list(plain.get("required", ()))}
    return {} if problem_with({**names, **others, **required, **bounds}) else bounds

"""What the parts of a JSON schema that speak of one value name, and of which kinds it may be."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
UNIONS = ("anyOf", "oneOf")
CONDITIONS = ("then", "else", "if")
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}

Follow = Callable[[Mapping[str, Any], str], Any]
"""Returns the part of the schema to which a reference leads, given where it stands."""


@dataclass(slots=True)
class Names:
    """What a schema says of the properties of one object, in all parts that speak of it.

    Attributes:
        known: the names of properties, in order.
        patterns: patterns of further names.
        is_stated: whether it speaks of properties at all.
        is_free: whether it describes the properties that it does not name.
        kinds: the types that its value may have; None where it does not say.

    """

    known: dict[str, None] = field(default_factory=dict)
    patterns: dict[str, None] = field(default_factory=dict)
    is_stated: bool = False
    is_free: bool = False
    kinds: frozenset[str] | None = None

    def add(self, other: "Names") -> None:
        """Add what another part of the same object names."""
        self.known |= other.known
        self.patterns |= other.patterns
        self.is_stated |= other.is_stated
        self.is_free |= other.is_free


def describes_others(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema itself says something of the properties that it does not name."""
    unevaluated = schema.get("unevaluatedProperties", False)
    return "additionalProperties" in schema or unevaluated is not False


def own_names(schema: Mapping[str, Any]) -> Names:
    """Return what a schema says itself, without the parts that it applies."""
    found = Names()
    found.known = dict.fromkeys([*schema.get("properties", ()), *schema.get("required", ())])
    found.patterns = dict.fromkeys(schema.get("patternProperties", ()))
    found.is_stated = any(key in schema for key in ("properties", "required", "patternProperties"))
    others = ("additionalProperties", "unevaluatedProperties")
    found.is_free = any(schema.get(key, False) is not False for key in others)
    found.kinds = _own_kinds(schema)
    return found


def _own_kinds(schema: Mapping[str, Any]) -> frozenset[str] | None:
    if "const" in schema:
        return frozenset([kind_of(schema["const"])])
    if "enum" in schema:
        return frozenset(map(kind_of, schema["enum"]))
    return None if "type" not in schema else kinds_in(schema["type"])


def kinds_in(types: str | Sequence[str]) -> frozenset[str]:
    """Return the types that the keyword `type` allows; a number may be an integer."""
    kinds = frozenset([types] if isinstance(types, str) else types)
    return kinds | {"integer"} if "number" in kinds else kinds


def kind_of(value: Any) -> str:
    """Return the type that JSON Schema gives a value."""
    if value is None:
        return "null"
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return _KINDS.get(type(value), "object")


def parts_that_all_hold(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the references of a schema and what it applies besides, with the keyword of each."""
    for key in REFERENCES:
        if isinstance(schema.get(key), str):
            yield key, schema[key]
    for part in schema.get("allOf", ()):
        yield "allOf", part


class NamesOf:
    """Finds the names of parts of a schema, each part once.

    Args:
        follow: returns the part to which a reference leads.

    """

    def __init__(self, follow: Follow) -> None:
        self._follow = follow
        self._found: dict[int, Names] = {}

    def __call__(self, schema: Any) -> Names:
        """Return what a part of the schema names, with all that it applies to the same value."""
        if not isinstance(schema, Mapping):
            return Names()
        if id(schema) in self._found:
            return self._found[id(schema)]
        found = self._found[id(schema)] = self.own(schema)
        for key, part in parts_that_all_hold(schema):
            inner = self(self._follow(schema, part) if key in REFERENCES else part)
            found.add(inner)
            found.kinds = _both(found.kinds, inner.kinds)
        for key in UNIONS:
            if key in schema:
                branches = [self(one) for one in schema[key]]
                for branch in branches:
                    found.add(branch)
                found.kinds = _both(found.kinds, _either(branches))
        return found

    def own(self, schema: Mapping[str, Any]) -> Names:
        """Return what a schema itself names, and in its conditions."""
        found = own_names(schema)
        conditions = [schema[key] for key in CONDITIONS if key in schema]
        for part in (*conditions, *schema.get("dependentSchemas", {}).values()):
            found.add(self(part))
        return found


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _either(branches: list[Names]) -> frozenset[str] | None:
    kinds = [branch.kinds for branch in branches]
    if any(one is None for one in kinds):
        return None
    return frozenset[str]().union(*(one for one in kinds if one is not None))

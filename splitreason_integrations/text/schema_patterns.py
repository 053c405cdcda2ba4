"""Keywords of JSON schemas with patterns, searched in linear time.

jsonschema searches them with Python's `re`, which a value can keep busy for ever.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from splitreason_integrations.patterns import compiled, is_expression


@lru_cache(maxsize=16)
def with_patterns(kind: Any) -> Any:
    """Return a class of jsonschema's validators that searches patterns in linear time."""
    from jsonschema.validators import extend

    known = kind.VALIDATORS
    ours = {key: check for key, check in _KEYWORDS.items() if key in known}
    return extend(kind, ours)


def check_patterns(schema: Any) -> None:
    """Check the patterns of a schema, but not those of its parts.

    Patterns of other languages than Python's are not searched at all.

    Raises ConfigurationError where a pattern cannot be searched in linear time.
    """
    if not isinstance(schema, Mapping):
        return
    found = [schema.get("pattern"), *(schema.get("patternProperties") or ())]
    for pattern in found:
        if isinstance(pattern, str) and is_expression(pattern):
            compiled(pattern)


def _is_found(pattern: str, text: str) -> bool | None:
    """Return whether a pattern is in a text; None if it is of another language."""
    return compiled(pattern).found_in(text) if is_expression(pattern) else None


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and _is_found(pattern, value) is False:
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, parts: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, part in parts.items():
            for name, one in value.items():
                if _is_found(pattern, name):
                    yield from validator.descend(one, part, path=name, schema_path=pattern)


def _additional(validator: Any, part: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        yield from _others(validator, part, value, _named(schema, value), "Additional")


def _unevaluated(validator: Any, part: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        inside = {key: one for key, one in schema.items() if key != "unevaluatedProperties"}
        known = _evaluated(validator, value, inside)
        yield from _others(validator, part, value, known, "Unevaluated")


def _others(validator: Any, part: Any, value: Any, known: set[str], what: str) -> Iterator[Any]:
    """Yield what is wrong with properties that nothing else in the schema speaks of."""
    from jsonschema import ValidationError

    names = [name for name in value if name not in known]
    if part is False and names:
        yield ValidationError(f"{what} properties are not allowed ({', '.join(map(repr, names))})")
        return
    for name in names:
        yield from validator.descend(value[name], part, path=name)


def _named(schema: Mapping[str, Any], value: Mapping[str, Any]) -> set[str]:
    """Return the properties of a value that a schema names itself, or has a pattern for."""
    patterns = schema.get("patternProperties", ())
    return {
        name
        for name in value
        if name in schema.get("properties", ())
        or any(_is_found(pattern, name) for pattern in patterns)
    }


def _evaluated(validator: Any, value: Mapping[str, Any], schema: Any) -> set[str]:
    """Return the properties of a value that a schema speaks of, by all of its parts."""
    if not isinstance(schema, Mapping):
        return set()
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return set(value)
    found = _named(schema, value)
    for there in _referred(validator._resolver, schema):
        inner = validator.evolve(schema=there.contents, _resolver=there.resolver)
        found |= _evaluated(inner, value, there.contents)
    for part in _applied(validator, value, schema):
        found |= _evaluated(validator, value, part)
    return found


def _referred(resolver: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from referencing.jsonschema import lookup_recursive_ref

    for key in ("$ref", "$dynamicRef"):
        if key in schema:
            yield resolver.lookup(schema[key])
    if "$recursiveRef" in schema:
        yield lookup_recursive_ref(resolver)


def _applied(validator: Any, value: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the parts of a schema that a value fits and that speak of the same object."""
    parts = [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ())]
    yield from (part for part in parts if validator.evolve(schema=part).is_valid(value))
    for name, part in schema.get("dependentSchemas", {}).items():
        if name in value:
            yield part
    if "if" in schema:
        holds = validator.evolve(schema=schema["if"]).is_valid(value)
        if holds:
            yield schema["if"]
        yield schema.get("then" if holds else "else", True)


_KEYWORDS = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "unevaluatedProperties": _unevaluated,
}

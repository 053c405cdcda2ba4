"""Which JSON schemas can be used, and which values fit them.

Nothing is fetched: a reference leads to another part of the schema. Formats are annotations, and a
pattern that is no regular expression of Python's is not checked. Patterns take linear time.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.encodable import check_encodable
from splitreason_integrations.text.schema_patterns import check_patterns, with_patterns

MOST_PARTS = 100_000
"""Most objects, lists and values that a schema may have; no grammar holds many more."""
MOST_LEVELS = 100
"""Most levels of a schema; compiling it uses the stack of the process at each of them."""
_MOST_ERRORS = 50
_VALUES = frozenset({"const", "enum", "default", "examples", "required"})
_SCHEMAS_BY_NAME = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)
_LONGEST_REASON = 240


def shortened(text: str) -> str:
    """Return a text in one line, without its middle where it is long."""
    line = " ".join(text.split())
    if len(line) <= _LONGEST_REASON:
        return line
    half = _LONGEST_REASON // 2
    return f"{line[:half]} … {line[-half:]}"


def place_of(path: Sequence[Any]) -> str:
    """Return where a part of a schema is, as a JSON pointer; the end alone where that is long."""
    steps = [str(step) for step in path if step != ""]
    if not steps:
        return "its top"
    last = "/".join(steps[-6:])
    return shortened(f"…/{last}" if len(steps) > 6 else f"#/{last}")


def schema_text(schema: Any, what: str) -> str:
    """Return a schema as JSON, its keys in their order.

    Args:
        schema: a JSON schema, as Python has it.
        what: what errors call it.

    Raises:
        RequestError: it is no valid schema, refers to something outside of it, or is too large.

    """
    if not isinstance(schema, Mapping | bool):
        raise RequestError(f"{what} must be a JSON schema, got {schema!r:.80}")
    _check_size(schema, what)
    check_encodable(schema, what)
    try:
        text = json.dumps(schema, allow_nan=False)
        validator(text)
    except RecursionError as error:
        raise RequestError(f"{what} is nested too deeply; {_FLATTEN}") from error
    except (TypeError, ValueError) as error:
        raise RequestError(f"{what} is no valid JSON schema: {shortened(str(error))}") from error
    return text


_FLATTEN = "describe its inner parts once in $defs, and flatten them"


def _check_size(schema: Any, what: str) -> None:
    """Raise RequestError where a schema is too large or too deep."""
    parts, open_paths = 0, [((), schema)]  # type: tuple[int, list[tuple[tuple[Any, ...], Any]]]
    while open_paths:
        path, part = open_paths.pop()
        parts += 1
        if len(path) > 2 * MOST_LEVELS:
            raise RequestError(
                f"{what} is nested more than {MOST_LEVELS} levels deep at {place_of(path)}; "
                f"{_FLATTEN}"
            )
        inner = _inner(part)
        if parts + len(open_paths) + len(inner) > MOST_PARTS:
            raise RequestError(
                f"{what} has more than {MOST_PARTS:,} parts, at {place_of(path)}; ask for a text "
                "or a number there, and check it in your program"
            )
        open_paths += [((*path, key), one) for key, one in inner]


def _inner(part: Any) -> list[tuple[Any, Any]]:
    if isinstance(part, Mapping):
        return list(part.items())
    return list(enumerate(part)) if isinstance(part, list | tuple) else []


@lru_cache(maxsize=256)
def validator(schema: str) -> Any:
    """Return what checks values against a schema, given as JSON.

    Raises ValueError where the schema is not valid, refers to something outside of it, or has a
    pattern that cannot be searched in linear time.
    """
    from jsonschema import FormatChecker
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.exceptions import Unresolvable

    read = json.loads(schema)
    kind = validator_for(read, default=Draft202012Validator)
    try:
        kind.check_schema(read, format_checker=FormatChecker(()))
        resource, registry = registered(read)
        _check_parts(resource, registry.resolver_with_root(resource))
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise ValueError(f"{where}: {error.message}" if where else error.message) from error
    except Unresolvable as error:
        raise ValueError(f"the reference {error.ref!r} leads nowhere") from error
    return with_patterns(kind)(read, registry=registry)


def registered(schema: Any) -> tuple[Any, Any]:
    """Return a schema as a resource, and a registry that knows nothing else."""
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Any = Registry().with_resource(resource.id() or "", resource)
    return resource, registry


def _check_parts(resource: Any, resolver: Any) -> None:
    """Check the references and patterns of a schema.

    Raises Unresolvable for a reference that leads out of the schema or nowhere, and
    ConfigurationError for a pattern that cannot be searched in linear time.
    """
    contents = resource.contents
    if isinstance(contents, Mapping) and isinstance(contents.get("$ref"), str):
        resolver.lookup(contents["$ref"])
    check_patterns(contents)
    for part in resource.subresources():
        _check_parts(part, resolver.in_subresource(part))


def misfit(known: Any, value: Any) -> str:
    """Return in what way a value does not fit; empty where it does.

    Args:
        known: what `validator` returned.
        value: a JSON value.

    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        errors = errors_of(known, value)
    except RecursionError:
        return "nested too deeply"
    except Unresolvable as error:
        return f"the schema refers to {error.ref!r}, which is not in it"
    worst = best_match(errors)
    if worst is None:
        return ""
    where = ".".join(map(str, worst.absolute_path))
    return f"{where}: {worst.message}" if where else str(worst.message)


def errors_of(known: Any, value: Any) -> list[Any]:
    """Return the first ways in which a value does not fit."""
    return list(islice(known.iter_errors(value), _MOST_ERRORS))


def without_titles(schema: Any) -> Any:
    """Return a schema without its titles, which repeat the names that its parts have anyway."""
    if isinstance(schema, list):
        return [without_titles(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for key, part in schema.items():
        if key in _SCHEMAS_BY_NAME and isinstance(part, Mapping):
            kept[key] = {name: without_titles(one) for name, one in part.items()}
        elif not (key == "title" and isinstance(part, str)):
            kept[key] = part if key in _VALUES else without_titles(part)
    return kept


def closed(schema: Any) -> Any:
    """Return a schema whose objects have no properties but those that it names.

    It stays as it is where several of its parts speak of one object.
    """
    return schema if _combines(schema) else _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    parts: dict[str, Any] = {}
    for key, part in schema.items():
        if key in _SCHEMAS_BY_NAME and isinstance(part, Mapping):
            parts[key] = {name: _closed(one) for name, one in part.items()}
        else:
            parts[key] = part if key in _VALUES else _closed(part)
    if isinstance(schema.get("properties"), Mapping) and schema.get("type", "object") == "object":
        parts.setdefault("additionalProperties", False)
    return parts


def _combines(schema: Any) -> bool:
    """Return whether several parts of a schema speak of one object."""
    if isinstance(schema, list):
        return any(map(_combines, schema))
    if not isinstance(schema, Mapping):
        return False
    applied = [key for key in ("$ref", "allOf", "anyOf", "oneOf") if key in schema]
    if len(applied) + ("properties" in schema) > 1 or len(schema.get("allOf", ())) > 1:
        return True
    return any(_combines(part) for key, part in schema.items() if key not in _VALUES)

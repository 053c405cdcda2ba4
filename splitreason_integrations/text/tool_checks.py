"""Which tool calls can be made: those of a tool that exists, with arguments that fit its schema.

The schema is the tool's own, and nothing is fetched: a reference leads to another part of it.
Formats are not checked, and neither is a pattern that is no regular expression of Python's.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.records import Message, ToolCall
from splitreason_integrations.text.call_markup import WrittenValue
from splitreason_integrations.text.tool_calls import STRICT_JSON

_MOST_ERRORS = 50
_PYTHON = {"True": True, "False": False, "None": None}
_NOT_TEXT = ("array", "boolean", "integer", "null", "number", "object")
_REASON_CHARACTERS = 240


class CallChecks:
    """Says of each call of a reply whether it can be made.

    Args:
        tools: what may be called; without any, names and schemas are not checked.

    Raises:
        RequestError: if a tool's schema is not valid.

    """

    def __init__(self, tools: Sequence[Message] | None) -> None:
        functions = [tool.get("function", tool) for tool in tools or ()]
        self._schemas = {
            str(one.get("name")): _as_text(str(one.get("name")), one.get("parameters"))
            for one in functions
        }

    def checked(self, call: ToolCall) -> ToolCall:
        """Return the call; one that cannot be made has an error and no arguments."""
        reason = call.error or self._reason(call)
        if not reason:
            return call
        raw = call.raw
        if call.arguments is not None:
            with suppress(RecursionError):
                raw = json.dumps(call.arguments, ensure_ascii=False)
        return replace(call, arguments=None, raw=raw, error=shortened(reason))

    def value(self, name: str, key: str, written: WrittenValue) -> Any:
        """Return the value of an argument in markup, with the type that the tool's schema gives it.

        Text stays text where the schema allows nothing else, and where it is not known.
        """
        if written.is_text:
            return written.text
        if written.is_text is None and name not in self._schemas:
            return written.text
        values = [read for read in _read_values(written.text) if not isinstance(read, str)]
        if written.is_text is False:
            return next(iter(values), written.text)
        return _fitting(_validator(self._schemas[name]), key, [*values, written.text])

    def _reason(self, call: ToolCall) -> str:
        if not self._schemas:
            return ""
        if call.name not in self._schemas:
            return f"no tool is named {call.name!r}; there are {', '.join(self._schemas)}"
        return _misfit(_validator(self._schemas[call.name]), call.arguments)


def check_tools(tools: Sequence[Message] | None) -> None:
    """Raise RequestError if a tool's schema is not valid."""
    CallChecks(tools)


def shortened(text: str) -> str:
    """Return a text in one line, without its middle where it is long."""
    line = " ".join(text.split())
    if len(line) <= _REASON_CHARACTERS:
        return line
    half = _REASON_CHARACTERS // 2
    return f"{line[:half]} … {line[-half:]}"


def _as_text(name: str, schema: Any) -> str:
    """Return a schema as JSON, checked."""
    if schema is None:
        return "{}"
    if not isinstance(schema, Mapping):
        raise RequestError(f"tool {name!r}: `parameters` must be a JSON schema, got {schema!r:.80}")
    try:
        text = json.dumps(schema, sort_keys=True)
        _validator(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(
            f"tool {name!r}: `parameters` is no valid JSON schema: {shortened(str(error))}"
        ) from error
    return text


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """Return what checks arguments against a schema, given as JSON.

    Raises ValueError where the schema is not valid or refers to something outside of it.
    """
    from jsonschema import FormatChecker
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    read = json.loads(schema)
    kind = validator_for(read, default=Draft202012Validator)
    try:
        kind.check_schema(read, format_checker=FormatChecker(()))
        resource = Resource.from_contents(read, default_specification=DRAFT202012)
        registry: Any = Registry().with_resource(resource.id() or "", resource)
        _check_references(resource, registry.resolver_with_root(resource))
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise ValueError(f"{where}: {error.message}" if where else error.message) from error
    except Unresolvable as error:
        raise ValueError(f"the reference {error.ref!r} leads nowhere") from error
    return kind(read, registry=registry)


def _check_references(resource: Any, resolver: Any) -> None:
    """Raise Unresolvable for a reference that leads out of the schema, or nowhere."""
    contents = resource.contents
    if isinstance(contents, Mapping) and isinstance(contents.get("$ref"), str):
        resolver.lookup(contents["$ref"])
    for part in resource.subresources():
        _check_references(part, resolver.in_subresource(part))


def _read_values(text: str) -> list[Any]:
    """Return what an unquoted text can mean besides itself: JSON, or Python's names for it."""
    if text.strip() in _PYTHON:
        return [_PYTHON[text.strip()]]
    try:
        return [STRICT_JSON.decode(text)]
    except (ValueError, RecursionError):
        return []


def _fitting(validator: Any, key: str, values: Sequence[Any]) -> Any:
    """Return the first value that fits an argument's schema, the text where none does."""
    schema = validator.schema
    known = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    if not isinstance(known, Mapping):
        return values[-1]
    own = validator.evolve(schema=known)
    fit = (value for value in values if not _errors(own, value))
    unfit = values[0] if known.get("type") in _NOT_TEXT else values[-1]
    return next(fit, unfit)


def _misfit(validator: Any, arguments: Any) -> str:
    """Return in what way arguments do not fit; empty where they do."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        errors = _errors(validator, arguments)
    except RecursionError:
        return "its arguments are nested too deeply"
    except Unresolvable as error:
        return f"the tool's schema refers to {error.ref!r}, which is not in it"
    worst = best_match(errors)
    if worst is None:
        return ""
    where = ".".join(map(str, worst.absolute_path))
    message = f"{where}: {worst.message}" if where else worst.message
    return f"its arguments do not fit the tool's schema: {message}"


def _errors(validator: Any, value: Any) -> list[Any]:
    errors: list[Any] = []
    # What follows a pattern of another language is not checked.
    with suppress(re.error):
        errors.extend(islice(validator.iter_errors(value), _MOST_ERRORS))
    return errors

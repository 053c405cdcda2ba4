"""Which tool calls can be made: those of a tool that exists, with arguments that fit its schema.

The schema is the tool's own, and nothing is fetched: a reference leads to another part of it.
Formats are not checked, and neither is a pattern that is no regular expression of Python's.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.records import Message, ToolCall
from splitreason_integrations.text.call_markup import WrittenValue
from splitreason_integrations.text.markup_grammar import argument_schemas
from splitreason_integrations.text.schemas import (
    errors_of,
    misfit,
    schema_text,
    shortened,
    validator,
)
from splitreason_integrations.text.tool_calls import STRICT_JSON

_PYTHON = {"True": True, "False": False, "None": None}
_NOT_TEXT = ("array", "boolean", "integer", "null", "number", "object")


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
        return _fitting(self._schemas[name], key, [*values, written.text])

    def _reason(self, call: ToolCall) -> str:
        if not self._schemas:
            return ""
        if call.name not in self._schemas:
            return f"no tool is named {call.name!r}; there are {', '.join(self._schemas)}"
        found = misfit(validator(self._schemas[call.name]), call.arguments)
        return f"its arguments do not fit the tool's schema: {found}" if found else ""


def check_tools(tools: Sequence[Message] | None) -> None:
    """Raise RequestError if a tool is no description of a function, or its schema is not valid."""
    for at, tool in enumerate(tools or ()):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else tool
        if not isinstance(function, Mapping):
            raise RequestError(
                f"tool {at} must be a mapping such as {{'type': 'function', 'function': {{...}}}}, "
                f"got {shortened(repr(tool))}"
            )
    CallChecks(tools)


def _as_text(name: str, schema: Any) -> str:
    """Return a schema as JSON, checked."""
    return "{}" if schema is None else schema_text(schema, f"tool {name!r}: `parameters`")


def _read_values(text: str) -> list[Any]:
    """Return what an unquoted text can mean besides itself: JSON, or Python's names for it."""
    if text.strip() in _PYTHON:
        return [_PYTHON[text.strip()]]
    try:
        return [STRICT_JSON.decode(text)]
    except (ValueError, RecursionError):
        return []


def _fitting(schema: str, key: str, values: Sequence[Any]) -> Any:
    """Return the first value that fits an argument's schemas, the text where none does."""
    known = argument_schemas(schema, key)
    if not known:
        return values[-1]
    checks = [validator(schema).evolve(schema=one) for one in known]
    fit = (value for value in values if any(not errors_of(one, value) for one in checks))
    is_text = all(one.get("type") not in _NOT_TEXT for one in known if isinstance(one, Mapping))
    return next(fit, values[-1] if is_text else values[0])

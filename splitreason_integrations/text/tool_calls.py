"""What a reply's tool-call region holds → calls. Nothing broken is repaired, and nothing raises.

Families write one JSON object, a list of them, several in a row, a name in front of arguments, or
markup.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from splitreason_integrations.records import ToolCall
from splitreason_integrations.text.call_markup import (
    Markup,
    WrittenCall,
    WrittenValue,
    read_markup,
)

ValueOf = Callable[[str, str, WrittenValue], Any]

CALL_FIELDS = ("tool_calls", "named_calls")
ARGUMENT_FIELDS = ("arguments", "parameters")
_MOST_LEVELS = 100
_BETWEEN = " \t\r\n;,"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


STRICT_JSON = json.JSONDecoder(parse_constant=_refuse)
"""Reads JSON as its standard has it: without NaN and infinity."""


def calls_as_text(template: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Markup]]:
    """Return a response template that leaves calls to `read_calls`, and the markup of its fields.

    ResponseParser raises on broken JSON, in the middle of a stream; in markup it reads what it can
    and leaves the rest out.
    """
    copied: dict[str, Any] = deepcopy(dict(template))
    markups: dict[str, Markup] = {}
    for name in CALL_FIELDS:
        field = copied["fields"].get(name, {})
        if "markup" in field:
            markups[name] = field.pop("markup")
        elif _is_inline(field):
            markups[name] = _inline_markup(field)
        elif field.get("content") == "json":
            del field["content"]
            field.pop("content_args", None)
            # What looks into the parsed JSON, or at its elements, finds text now.
            if field.pop("transform_each", False) or "{content." in json.dumps(
                field.get("transform")
            ):
                del field["transform"]
    return copied, markups


def _is_inline(field: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer's own template reads a call's name, and then its tags."""
    closed = "close" in field or "close_pattern" in field
    named = "{name}" in json.dumps(field.get("transform"))
    merged = field.get("content_args", {}).get("merge_duplicates")
    return field.get("content") == "xml-inline" and closed and named and not merged


def _inline_markup(field: dict[str, Any]) -> Markup:
    """Make a field leave its tags to `read_calls`, with what closes it; return their markup."""
    closed = field.pop("close", None)
    texts = [closed] if isinstance(closed, str) else closed
    end = "|".join(map(re.escape, texts)) if texts else field["close_pattern"]
    field["close_pattern"] = f"(?<={end})"
    del field["content"]
    tags = field.pop("content_args")["tag_pattern"]
    return Markup(argument=tags, end=end)


def growing_fields(template: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields whose regions hold JSON with a call's name beside its arguments."""
    fields = {name: template["fields"].get(name) for name in CALL_FIELDS}
    return frozenset(
        name
        for name, field in fields.items()
        if field is not None and "{name}" not in json.dumps(field.get("transform"))
    )


def read_calls(
    region: Any, *, first: int, markup: Markup | None = None, value_of: ValueOf
) -> list[ToolCall]:
    """Return the calls of one region; one with an error where it is broken.

    Args:
        region: what ResponseParser returned for it.
        first: number of the first call, for its id.
        markup: how to read calls that are no JSON.
        value_of: returns the value of an argument that is written in markup.

    """
    if isinstance(region, Mapping) and "function" in region:
        region = region["function"]
    if markup is not None:
        known = region.get("name", "") if isinstance(region, Mapping) else ""
        written = region.get("arguments") if isinstance(region, Mapping) else region
        return [
            _from_markup(call, call.name or known, number, value_of)
            for number, call in enumerate(read_markup(_text(written), markup), first)
        ]
    raw = _text(region)
    values = [region] if not isinstance(region, str) else _json_values(region)
    found = [] if values is None else list(_objects(values))
    if not found:
        return [ToolCall(f"call_{first}", "", None, raw, "the call is no JSON")]
    return [
        _read(one, number, raw if len(found) == 1 else _text(one))
        for number, one in enumerate(found, first)
    ]


def parse_arguments(text: str) -> Any:
    """Return the JSON value that a text is; None if it is not exactly one."""
    read = _json_values(text) or [None]
    return read[0] if len(read) == 1 else None


def shown_arguments(raw: str) -> dict[str, Any]:
    """Return the arguments with which an invalid call is shown to the model: what it wrote."""
    arguments = parse_arguments(raw)
    return arguments if isinstance(arguments, dict) else {"text": raw}


def _json_values(text: str) -> list[Any] | None:
    """Return the JSON values of a text in order; None if it contains anything else."""
    values: list[Any] = []
    at = 0
    while rest := text[at:].strip(_BETWEEN):
        at = text.index(rest, at)
        try:
            value, at = STRICT_JSON.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        if _is_deep(value):
            return None
        values.append(value)
    return values


def _is_deep(value: Any, levels: int = _MOST_LEVELS) -> bool:
    """Return whether a value is nested so deeply that working with it may fail."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_is_deep(one, levels - 1) for one in inner)


def _objects(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _objects(value)
        elif isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
            yield value["function"]
        else:
            yield value


def _from_markup(call: WrittenCall, name: str, number: int, value_of: ValueOf) -> ToolCall:
    if call.arguments is None:
        error = "the call is not whole, or not written as calls have to be"
        return ToolCall(f"call_{number}", name, None, call.raw, error)
    if isinstance(call.arguments, str):
        return _read({"name": name, "arguments": call.arguments}, number, call.raw)
    values = {key: value_of(name, key, value) for key, value in call.arguments.items()}
    return ToolCall(f"call_{number}", name, values, call.raw)


def _read(value: Any, number: int, raw: str) -> ToolCall:
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str) or not name:
        return ToolCall(f"call_{number}", "", None, raw, "the call names no tool")
    written: Any = next((value[key] for key in ARGUMENT_FIELDS if key in value), {})
    arguments = parse_arguments(written) if isinstance(written, str) else written
    if isinstance(arguments, dict):
        return ToolCall(f"call_{number}", name, arguments, raw)
    error = "its arguments are no JSON object"
    return ToolCall(f"call_{number}", name, None, _text(written), error)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

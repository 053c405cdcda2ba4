"""What a reply's tool-call region holds → calls. Nothing broken is repaired, and nothing raises.

Families write one JSON object, a list of them, several in a row, or a name in front of arguments.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from splitreason_integrations.records import ToolCall

CALL_FIELDS = ("tool_calls", "named_calls")
ARGUMENT_FIELDS = ("arguments", "parameters")
_BETWEEN = " \t\r\n;,"
_DECODER = json.JSONDecoder()


def calls_as_text(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response template that leaves the JSON of calls to `read_calls`.

    ResponseParser raises on broken JSON, in the middle of a stream.
    """
    copied: dict[str, Any] = deepcopy(dict(template))
    for name in CALL_FIELDS:
        field = copied["fields"].get(name)
        if field is not None and field.get("content") == "json":
            del field["content"]
            field.pop("content_args", None)
            # What looks into the parsed JSON, or at its elements, finds text now.
            if field.pop("transform_each", False) or "{content." in json.dumps(
                field.get("transform")
            ):
                del field["transform"]
    return copied


def read_calls(region: Any, *, first: int) -> list[ToolCall]:
    """Return the calls of one region; one without name or arguments where it is broken.

    Args:
        region: what ResponseParser returned for it.
        first: number of the first call, for its id.

    """
    if isinstance(region, Mapping) and "function" in region:
        region = region["function"]
    raw = region if isinstance(region, str) else json.dumps(region, ensure_ascii=False)
    values = [region] if not isinstance(region, str) else _json_values(region)
    found = [] if values is None else list(_objects(values))
    if not found:
        return [ToolCall(id=f"call_{first}", name="", arguments=None, raw=raw)]
    return [
        _read(one, number, raw if len(found) == 1 else json.dumps(one, ensure_ascii=False))
        for number, one in enumerate(found, first)
    ]


def parse_arguments(text: str) -> Any:
    """Return the JSON value that a text is; None if it is not exactly one."""
    read = _json_values(text) or [None]
    return read[0] if len(read) == 1 else None


def _json_values(text: str) -> list[Any] | None:
    """Return the JSON values of a text in order; None if it contains anything else."""
    values: list[Any] = []
    at = 0
    while rest := text[at:].strip(_BETWEEN):
        at = text.index(rest, at)
        try:
            value, at = _DECODER.raw_decode(text, at)
        except ValueError:
            return None
        values.append(value)
    return values


def _objects(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _objects(value)
        elif isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
            yield value["function"]
        else:
            yield value


def _read(value: Any, number: int, raw: str) -> ToolCall:
    name = value.get("name") if isinstance(value, Mapping) else None
    arguments: Any = None
    if isinstance(name, str):
        arguments = next((value[key] for key in ARGUMENT_FIELDS if key in value), {})
        if isinstance(arguments, str):
            arguments = parse_arguments(arguments)
    return ToolCall(
        id=f"call_{number}",
        name=name if isinstance(name, str) else "",
        arguments=arguments if isinstance(arguments, dict) else None,
        raw=raw,
    )

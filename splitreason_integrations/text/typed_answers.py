"""Typed answers that came whole: written in the one way that a grammar knows.

JSON of a server may have other white space, and its keys in another order. What does not fit the
schema stays as it is: the grammar decides.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from splitreason_integrations.protocols import CONTROL, AnswerForm, Codec, ReplyFormat
from splitreason_integrations.records import Message
from splitreason_integrations.text.joiner import Joiner
from splitreason_integrations.text.tool_calls import STRICT_JSON

_MOST_REFERENCES = 16
_EITHER = ("anyOf", "oneOf")

Parts = Sequence[tuple[str, bool]]
"""A text in parts, and of each whether the family's own tokens spell it."""


def written_answer(text: str, schema: Mapping[str, Any]) -> Parts:
    """Return a JSON text as a grammar of its schema knows it; raise ValueError for other texts."""
    return [(_written(text, schema), False)]


def written_call(name: str, arguments: str, tools: Sequence[Message], form: ReplyFormat) -> Parts:
    """Return a call as its family writes it; raise ValueError where its arguments are no object."""
    functions = (tool.get("function", tool) for tool in tools)
    schema = next((one.get("parameters") for one in functions if one.get("name") == name), None)
    written = _written(arguments, schema or {})
    if not written.startswith("{"):
        raise ValueError("its arguments are no JSON object")
    return list(form.call_parts(name, written))


def leading(form: ReplyFormat, asked: AnswerForm, written: str | None) -> Parts:
    """Return what goes before a typed answer.

    Args:
        form: the family's.
        asked: what the answer has to be.
        written: what the reply has behind its reasoning; None while it reasons.

    """
    is_call = asked.schema is None
    if written is None:
        behind = form.answer_start or form.after_reasoning
        ended = form.end_of_reasoning + ("" if is_call and form.answer_start else behind)
        return [(ended, True)]
    return [] if written or is_call else [(form.answer_start, True)]


def token_ids(codec: Codec, parts: Parts) -> list[int]:
    """Return the ids of a text in parts; nothing but the family's own parts has control tokens."""
    joiner, ids = Joiner(codec), list[int]()
    for text, is_own in parts:
        for part, control in _split(codec, text) if is_own else [(text, None)]:
            new = joiner.encode(part) if control is None else [control]
            joiner.advance(new)
            ids += new
    return ids


def in_order(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value with the keys of its objects in the order of their schema."""
    known = _resolved(schema, root)
    if isinstance(value, list):
        first = known.get("prefixItems")
        each = list(first) if isinstance(first, list) else []
        each += [known.get("items")] * (len(value) - len(each))
        return [in_order(one, each[at], root) for at, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = _properties(value, known, root)
    keys = [key for key in properties if key in value]
    keys += [key for key in value if key not in properties]
    others = known.get("additionalProperties")
    return {key: in_order(value[key], properties.get(key, others), root) for key in keys}


def _written(text: str, schema: Mapping[str, Any]) -> str:
    try:
        value = in_order(STRICT_JSON.decode(text.strip()), schema, schema)
        return json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _properties(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the schemas of an object's properties by name, in their order."""
    found: dict[str, Any] = {}
    for one in (schema, *(_resolved(part, root) for part in schema.get("allOf") or ())):
        own = one.get("properties")
        found |= own if isinstance(own, Mapping) else {}
    for name in _EITHER:
        for one in schema.get(name) or ():
            inner = _properties(value, _resolved(one, root), root)
            if value.keys() <= inner.keys():
                return found | inner
    return found


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or the part of the whole one that it refers to; empty for others."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        schema = root
        for name in filter(None, reference[1:].split("/")):
            part = name.replace("~1", "/").replace("~0", "~")
            schema = schema.get(part) if isinstance(schema, Mapping) else None
    return {}


def _split(codec: Codec, text: str) -> Iterator[tuple[str, int | None]]:
    for part in filter(None, CONTROL.split(text)):
        yield part, codec.control_token(part)

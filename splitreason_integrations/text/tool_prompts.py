"""Tools, calls and their results as text, for chat templates that have no place for them.

Some templates refuse them; others drop them, and the model never learns of a tool or of what a call
gave. A conversation written out like this has them under any template.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.protocols import ReplyFormat
from splitreason_integrations.records import Message

PROBE = "probe_name"
"""A name that no template has in it by itself."""

PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": PROBE,
        "description": "Probes.",
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}},
    },
}
PROBE_VALUE = "probe_value"
PROBE_RESULT = "probe_result"
PROBE_CALLS: tuple[dict[str, Any], ...] = (
    {"role": "user", "content": "Hello"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                # Nine letters and digits: Mistral's templates take no other identifier.
                "id": "probe0001",
                "type": "function",
                "function": {"name": PROBE, "arguments": {"key": PROBE_VALUE}},
            }
        ],
    },
    {"role": "tool", "name": PROBE, "tool_call_id": "probe0001", "content": PROBE_RESULT},
)
"""A conversation with a call; a template that has calls shows its name, value and result."""

_OFFER = """\
You can call these functions. Each line describes one as JSON:
{tools}

To call one, write exactly this, {how}:
{call}"""
_AS_JSON = "with its name and its arguments as JSON"
_IN_MARKUP = "with its name and one such part for each argument; a value that is no text is JSON"
_RESULT = "<tool_response>\n{content}\n</tool_response>"


def has_calls(messages: Sequence[Message]) -> bool:
    """Return whether a conversation has tool calls or their results."""
    return any(one.get("tool_calls") or one.get("role") == "tool" for one in messages)


def with_tools(
    messages: Sequence[Message], tools: Sequence[Message], family: ReplyFormat
) -> list[Message]:
    """Return messages whose first one, from the system or the user, describes the tools."""
    listed = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    example = '{"<argument-name>": "<value>"}' if family.argument else "<arguments>"
    call = family.write_call("<function-name>", example)
    how = _IN_MARKUP if family.argument else _AS_JSON
    offer = _OFFER.replace("{how}", how).replace("{tools}", listed).replace("{call}", call)
    at = next((at for at, one in enumerate(messages) if one["role"] in ("system", "user")), None)
    if at is None:
        return [{"role": "user", "content": offer}, *messages]
    said = messages[at]["content"]
    parts = [said, offer] if messages[at]["role"] == "system" else [offer, said]
    offering = {**messages[at], "content": "\n\n".join(parts)}
    return [*messages[:at], offering, *messages[at + 1 :]]


def with_ids(messages: Sequence[Message], family: ReplyFormat) -> list[Message]:
    """Return messages whose calls have the ids by which the family's templates name tools."""
    if not family.call_id:
        return list(messages)
    count = 0
    ids: dict[Any, str] = {}
    waiting: list[str] = []
    written: list[Message] = []
    for message in messages:
        one = dict(message)
        if one.get("tool_calls"):
            calls = [dict(call) for call in one["tool_calls"]]
            for call in calls:
                name = str(call.get("function", call).get("name"))
                new = family.write_id(name, count)
                count += 1
                ids[call.get("id", new)] = new
                waiting.append(new)
                call["id"] = new
            one["tool_calls"] = calls
        elif one["role"] == "tool":
            found = ids.get(one.get("tool_call_id")) or next(iter(waiting), "")
            if found in waiting:
                waiting.remove(found)
            one["tool_call_id"] = found
        written.append(one)
    return written


def with_text_arguments(messages: Sequence[Message], family: ReplyFormat) -> list[Message]:
    """Return the messages of `with_ids` in which the arguments of calls are JSON as text."""
    return [
        {**one, "tool_calls": [_text_arguments(call) for call in one["tool_calls"]]}
        if one.get("tool_calls")
        else one
        for one in with_ids(messages, family)
    ]


def _text_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def with_calls(messages: Sequence[Message], family: ReplyFormat) -> list[Message]:
    """Return messages in which calls are text of the assistant, and results text of the user."""
    written: list[Message] = []
    for message in messages:
        one = _as_text(message, family)
        if written and one["role"] == written[-1]["role"] == "user":
            # Some templates take no two user messages in a row.
            before = written.pop()
            one = {**before, "content": f"{before['content']}\n\n{one['content']}"}
        written.append(one)
    return written


def _as_text(message: Message, family: ReplyFormat) -> Message:
    if message["role"] == "tool":
        return {"role": "user", "content": _RESULT.replace("{content}", message["content"] or "")}
    if not message.get("tool_calls"):
        return message
    calls = [_call(call, family) for call in message["tool_calls"]]
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**rest, "content": "\n".join(filter(None, [message.get("content"), *calls]))}


def _call(call: Mapping[str, Any], family: ReplyFormat) -> str:
    function = call.get("function", call)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    return family.write_call(str(function.get("name")), arguments)

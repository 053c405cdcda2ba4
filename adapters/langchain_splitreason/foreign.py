"""What other models leave in a message's content: which of its blocks are text, thought or call."""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from splitreason_integrations.text.tool_calls import shown_arguments

Block = Mapping[str, Any]
Call = tuple[Any, str, dict[str, Any]]
"""The id of a call, the tool's name, and the arguments."""

_TEXTS = frozenset({"text", "input_text", "output_text", "text-plain", None})
_THOUGHTS = frozenset({"reasoning", "thinking", "reasoning_content"})
_CALLS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "tool_use": (("id",), "input"),
    "tool_call": (("id",), "args"),
    "function_call": (("call_id", "id"), "arguments"),
}
"""Where blocks of calls have the id and the arguments."""


def text_of(block: Block, *, by_model: bool = False) -> str | None:
    """Return the text that a block is; None where it is none.

    `by_model` says that a model wrote it: then a refusal is text, and so is what a block in another
    provider's form holds.
    """
    kind = block.get("type")
    if kind in _TEXTS and "text" in block:
        return _plain(block["text"])
    if kind == "text-plain" and isinstance(block.get("base64"), str):
        return _decoded(block["base64"])
    if kind == "file" and block.get("source_type") == "text":
        return _plain(block.get("text"))
    if by_model and kind == "refusal":
        return _plain(block.get("refusal"))
    if by_model and kind == "non_standard" and isinstance(block.get("value"), Mapping):
        return text_of(block["value"], by_model=True)
    return None


def thoughts_of(content: Sequence[Any]) -> str:
    """Return the reasoning in the blocks of a model's message."""
    return "".join(
        _plain(block.get(str(block["type"])) or block.get("summary"))
        for block in _blocks(content)
        if block.get("type") in _THOUGHTS
    )


def calls_of(content: Sequence[Any]) -> list[Call]:
    """Return the calls in the blocks of a model's message."""
    return [call for block in _blocks(content) if (call := _call(block)) is not None]


def call_from(id_: Any, name: Any, arguments: Any) -> Call:
    """Return a call whose arguments may be JSON as text."""
    if isinstance(arguments, str):
        arguments = shown_arguments(arguments)
    return id_, str(name or ""), dict(arguments) if isinstance(arguments, Mapping) else {}


def _blocks(content: Sequence[Any]) -> Iterable[Block]:
    for block in content:
        if isinstance(block, Mapping):
            inner = block.get("value") if block.get("type") == "non_standard" else None
            yield inner if isinstance(inner, Mapping) else block


def _call(block: Block) -> Call | None:
    used = block.get("toolUse")
    if isinstance(used, Mapping):
        return call_from(used.get("toolUseId"), used.get("name"), used.get("input"))
    known = _CALLS.get(str(block.get("type")))
    if known is None:
        return None
    ids, arguments = known
    id_ = next((block[name] for name in ids if block.get(name)), None)
    return call_from(id_, block.get("name"), block.get(arguments, block.get("args")))


def _plain(value: Any) -> str:
    """Return the text of a value: of parts, and of what holds it one level below."""
    match value:
        case str():
            return value
        case Mapping():
            inner = (value.get(name) for name in ("text", "value", "reasoningText"))
            return next((_plain(one) for one in inner if one), "")
        case Sequence():
            return "".join(map(_plain, value))
    return ""


def _decoded(base64: str) -> str | None:
    try:
        return b64decode(base64, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None

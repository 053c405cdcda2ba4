"""The tool calls of an assistant's message, in whatever form the LLM that wrote it left them.

LlamaIndex has a block for calls. Many LLMs write them to `additional_kwargs["tool_calls"]` instead,
or to both, as objects or dicts of their provider, and a saved history holds those as plain data.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from pydantic import BaseModel

from splitreason_integrations.text.tool_calls import shown_arguments

_NUMBERS = ("call_id", "tool_call_id", "tool_id", "toolUseId", "id")
"""The first one that is there: an item with a `call_id` has an `id` of its own beside it."""
_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "input", "args", "tool_kwargs", "kwargs", "parameters")
_INSIDE = ("function", "toolUse", "function_call")


def calls_of(message: ChatMessage) -> list[dict[str, Any]]:
    """Return the calls as chat templates take them, each once; anything else is left out."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    calls = [_call(one.tool_call_id, one.tool_name, one.tool_kwargs) for one in blocks]
    in_blocks = list(calls)
    for call in _others(message.additional_kwargs):
        same = "id" if "id" in call else "function"
        if call[same] not in [one.get(same) for one in in_blocks]:
            calls.append(call)
    return calls


def _others(extra: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    given = extra.get("tool_calls")
    listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    for one in listed or [extra.get("function_call")]:
        if call := _read(one):
            yield call


def _read(given: Any) -> dict[str, Any] | None:
    """Return the call in an object or a dict of any provider; None where there is none."""
    outer = _Parts(given)
    inner = _Parts(outer.first(_INSIDE))
    name = inner.first(_NAMES) or outer.first(_NAMES)
    if not isinstance(name, str) or not name:
        return None
    arguments = inner.first(_ARGUMENTS)
    if arguments is None:
        arguments = outer.first(_ARGUMENTS)
    number = outer.first(_NUMBERS) or inner.first(_NUMBERS)
    return _call(None if number is None else str(number), name, arguments)


class _Parts:
    """The named parts of an object or a dict."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def first(self, names: tuple[str, ...]) -> Any:
        """Return the first part of these names that is there."""
        found = (self._get(name) for name in names)
        return next((part for part in found if part is not None), None)

    def _get(self, name: str) -> Any:
        if isinstance(self._given, Mapping):
            return self._given.get(name)
        return None if self._given is None else getattr(self._given, name, None)


def _call(number: str | None, name: str, arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, BaseModel):
        arguments = arguments.model_dump()
    if isinstance(arguments, str):
        arguments = shown_arguments(arguments or "{}")
    elif not isinstance(arguments, dict):
        arguments = dict(arguments) if isinstance(arguments, Mapping) else {}
    function = {"name": name, "arguments": arguments}
    return {"type": "function", "function": function} | ({"id": number} if number else {})

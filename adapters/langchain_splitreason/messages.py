"""LangChain messages → the engine's chat messages. Text passes, anything else is named."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from splitreason_integrations.errors import RequestError, UnsupportedContentError
from splitreason_integrations.records import Message

_CHAT_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "system": "system",
    "developer": "system",
}
_TEXT_BLOCKS = frozenset({"text", "input_text", "output_text"})
_REASONING_BLOCKS = frozenset({"reasoning", "thinking"})
_CALL_BLOCKS = frozenset({"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call"})


def to_chat(messages: Sequence[BaseMessage]) -> list[Message]:
    """Return the messages as chat templates take them.

    Raises UnsupportedContentError for content other than text, RequestError for other roles.
    """
    return [_message(at, message) for at, message in enumerate(messages)]


def _message(at: int, message: BaseMessage) -> Message:
    chat: dict[str, Any] = {"role": _role(at, message), "content": _text(at, message)}
    if message.name:
        chat["name"] = message.name
    if isinstance(message, ToolMessage):
        chat["tool_call_id"] = message.tool_call_id
    if isinstance(message, AIMessage):
        if reasoning := _reasoning(message):
            chat["reasoning_content"] = reasoning
        if calls := _calls(message):
            chat["tool_calls"] = calls
    return chat


def _role(at: int, message: BaseMessage) -> str:
    match message:
        case HumanMessage():
            return "user"
        case AIMessage():
            return "assistant"
        case SystemMessage():
            return "system"
        case ToolMessage() | FunctionMessage():
            return "tool"
        case ChatMessage(role=role) if role in _CHAT_ROLES:
            return _CHAT_ROLES[role]
        case ChatMessage(role=role):
            raise RequestError(f"message {at}: role {role!r} is not one of {sorted(_CHAT_ROLES)}")
    raise RequestError(f"message {at}: a {type(message).__name__} cannot be sent to a model")


def _text(at: int, message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(_block_text(at, message, block) for block in message.content)


def _block_text(at: int, message: BaseMessage, block: str | Mapping[str, Any]) -> str:
    if isinstance(block, str):
        return block
    kind = block.get("type")
    if kind in _TEXT_BLOCKS:
        return str(block.get("text") or "")
    if isinstance(message, AIMessage) and kind in _REASONING_BLOCKS | _CALL_BLOCKS:
        return ""
    raise UnsupportedContentError(
        f"message {at}: content of type {kind!r}; this chat model takes text only"
    )


def _reasoning(message: AIMessage) -> str:
    kept = message.additional_kwargs.get("reasoning_content")
    if isinstance(kept, str):
        return kept
    if isinstance(message.content, str):
        return ""
    blocks = [block for block in message.content if isinstance(block, dict)]
    return "".join(
        str(block.get(block["type"]) or "")
        for block in blocks
        if block.get("type") in _REASONING_BLOCKS
    )


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    calls = [(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    calls += [
        (broken["id"], broken["name"] or "", _loaded(broken["args"]))
        for broken in message.invalid_tool_calls
    ]
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]


def _loaded(text: str | None) -> dict[str, Any]:
    # A broken call is shown to the model as one whose only argument is what it wrote.
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return {"text": text}
    return arguments if isinstance(arguments, dict) else {"text": text}

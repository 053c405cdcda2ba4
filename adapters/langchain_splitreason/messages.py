"""LangChain messages → the engine's chat messages. Text passes, anything else is named."""

from collections.abc import Mapping, Sequence, Set
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

from langchain_splitreason.results import as_written, refusal
from splitreason_integrations.errors import RequestError, UnsupportedContentError
from splitreason_integrations.records import Message
from splitreason_integrations.text.tool_calls import shown_arguments

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
    answered = {one.tool_call_id for one in messages if isinstance(one, ToolMessage)}
    return [
        one
        for at, message in enumerate(messages)
        for one in (_message(at, message), *_refusals(message, answered))
    ]


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
        (broken["id"], broken["name"] or "", shown_arguments(as_written(broken["args"] or "")))
        for broken in message.invalid_tool_calls
    ]
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]


def _refusals(message: BaseMessage, answered: Set[str]) -> list[Message]:
    """Return a result for each invalid call that has none: it says why the call was not made."""
    if not isinstance(message, AIMessage):
        return []
    return [
        {"role": "tool", "content": refusal(message, call), "tool_call_id": call["id"]}
        for call in message.invalid_tool_calls
        if call["id"] not in answered
    ]

"""LangChain messages → the engine's chat messages.

Of what models wrote, text, reasoning and calls pass, whichever provider's blocks they are in. Of
all else text passes, and what is none is named.
"""

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

from langchain_splitreason.foreign import Call, call_from, calls_of, text_of, thoughts_of
from langchain_splitreason.results import as_written, refusal
from splitreason_integrations.errors import RequestError, UnsupportedContentError
from splitreason_integrations.records import Message
from splitreason_integrations.text.tool_calls import shown_arguments

_CHAT_ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}


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
        return message.content or _text_elsewhere(message)
    by_model = _role(at, message) == "assistant"
    return "".join(_block_text(at, block, by_model=by_model) for block in message.content)


def _text_elsewhere(message: BaseMessage) -> str:
    """Return what a model refused or spoke, which some providers leave beside the content."""
    if not isinstance(message, AIMessage):
        return ""
    refused, audio = (message.additional_kwargs.get(name) for name in ("refusal", "audio"))
    spoken = audio.get("transcript") if isinstance(audio, Mapping) else None
    return next((text for text in (refused, spoken) if isinstance(text, str)), "")


def _block_text(at: int, block: str | Mapping[str, Any], *, by_model: bool) -> str:
    if isinstance(block, str):
        return block
    text = text_of(block, by_model=by_model)
    if text is None and not by_model:
        raise UnsupportedContentError(
            f"message {at}: content of type {block.get('type')!r}; this chat model takes text only"
        )
    return text or ""


def _reasoning(message: AIMessage) -> str:
    kept = message.additional_kwargs.get("reasoning_content")
    if isinstance(kept, str):
        return kept
    return "" if isinstance(message.content, str) else thoughts_of(message.content)


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    calls = [(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    calls += [
        (broken["id"], broken["name"] or "", shown_arguments(as_written(broken["args"] or "")))
        for broken in message.invalid_tool_calls
    ]
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls or _calls_elsewhere(message)
    ]


def _calls_elsewhere(message: AIMessage) -> list[Call]:
    """Return the calls of a message that LangChain did not read: in blocks, or of older kinds."""
    found = [] if isinstance(message.content, str) else calls_of(message.content)
    function = message.additional_kwargs.get("function_call")
    if not found and isinstance(function, Mapping):
        name = function.get("name")
        found = [call_from(name, name, function.get("arguments"))]
    return found


def _refusals(message: BaseMessage, answered: Set[str]) -> list[Message]:
    """Return a result for each invalid call that has none: it says why the call was not made."""
    if not isinstance(message, AIMessage):
        return []
    return [
        {"role": "tool", "content": refusal(message, call), "tool_call_id": call["id"]}
        for call in message.invalid_tool_calls
        if call["id"] not in answered
    ]

"""LlamaIndex messages → the engine's chat messages. Text passes, anything else is named."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from splitreason_integrations.errors import UnsupportedContentError
from splitreason_integrations.records import Message
from splitreason_integrations.text.tool_calls import shown_arguments

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}


def to_chat(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the messages as chat templates take them.

    Raises UnsupportedContentError for content other than text.
    """
    return [_message(at, message) for at, message in enumerate(messages)]


def _message(at: int, message: ChatMessage) -> Message:
    texts, thoughts, calls = list[str](), list[str](), list[dict[str, Any]]()
    for block in message.blocks:
        match block:
            case TextBlock(text=text):
                texts.append(text)
            case ThinkingBlock(content=content):
                thoughts.append(content or "")
            case ToolCallBlock():
                calls.append(_call(block))
            case CachePoint():
                pass
            case _:
                raise UnsupportedContentError(
                    f"message {at}: content of type {block.block_type!r}; this LLM takes text only"
                )
    chat: dict[str, Any] = {"role": _ROLES[message.role], "content": "\n".join(texts)}
    for key in ("name", "tool_call_id"):
        if isinstance(value := message.additional_kwargs.get(key), str):
            chat[key] = value
    if any(thoughts):
        chat["reasoning_content"] = "".join(thoughts)
    if calls:
        chat["tool_calls"] = calls
    return chat


def _call(block: ToolCallBlock) -> dict[str, Any]:
    arguments = block.tool_kwargs
    if not isinstance(arguments, dict):
        arguments = shown_arguments(arguments)
    function = {"name": block.tool_name, "arguments": arguments}
    return {"id": block.tool_call_id, "type": "function", "function": function}

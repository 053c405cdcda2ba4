"""LlamaIndex messages → the engine's chat messages. Text passes, anything else is named.

In an assistant's message, which another LLM may have written, all but text is left out.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
)

from llama_index.llms.splitreason.foreign_calls import calls_of
from splitreason_integrations.errors import UnsupportedContentError
from splitreason_integrations.records import Message

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

    Raises UnsupportedContentError for content other than text of anybody but an assistant.
    """
    return [_message(at, message) for at, message in enumerate(messages)]


def _message(at: int, message: ChatMessage) -> Message:
    role = _ROLES[message.role]
    content = _assistant_text(message) if role == "assistant" else _text(at, message)
    chat: dict[str, Any] = {"role": role, "content": content}
    for key in ("name", "tool_call_id"):
        if isinstance(value := message.additional_kwargs.get(key), str):
            chat[key] = value
    if role == "assistant":
        if thoughts := _thoughts(message):
            chat["reasoning_content"] = thoughts
        if calls := calls_of(message):
            chat["tool_calls"] = calls
    return chat


def _text(at: int, message: ChatMessage) -> str:
    parts = [part for block in message.blocks for part in _parts(block)]
    for part in parts:
        if not isinstance(part, str):
            raise UnsupportedContentError(
                f"message {at}: content of type {part.block_type!r}; this LLM takes text only"
            )
    return "\n".join(parts)


def _assistant_text(message: ChatMessage) -> str:
    """Return the text; of a citation what it quotes, where the message has nothing else."""
    quotes = [block for block in message.blocks if isinstance(block, CitationBlock)]
    own = [block for block in message.blocks if not isinstance(block, CitationBlock)]
    return _texts(own) or _texts(quotes)


def _texts(blocks: Sequence[Any]) -> str:
    parts = (part for block in blocks for part in _parts(block))
    return "\n".join(part for part in parts if isinstance(part, str))


def _parts(block: Any) -> Iterator[Any]:
    """Yield the texts of a block, and the blocks in it that are none."""
    match block:
        case TextBlock(text=text):
            yield text
        case CitableBlock() | CitationBlock():
            for inner in block.nested_blocks:
                yield from _parts(inner)
        case DocumentBlock(data=bytes(), document_mimetype=str(kind)) if kind.startswith("text/"):
            yield block.resolve_document().read().decode("utf-8", "replace")
        case CachePoint():
            return
        case _:
            yield block


def _thoughts(message: ChatMessage) -> str:
    blocks = [block for block in message.blocks if isinstance(block, ThinkingBlock)]
    return "".join(block.content or "" for block in blocks)

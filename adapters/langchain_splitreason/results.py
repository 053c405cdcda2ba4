"""The engine's deltas and completion → LangChain chunks and messages.

A message is the sum of its chunks, so that streaming and invoking give the same.
"""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from splitreason_integrations.records import Author, Channel, Completion, Delta, ToolCall

_FIRST_TOOL_INDEX = 2
"""Lower ones are taken: LangChain numbers the reasoning 0 and the text 1 when it makes blocks."""


class ReplyWriter:
    """Turns one reply's deltas into chunks, and its completion into the last one.

    `additional_kwargs["authors"]` of a chunk tells who wrote its text:
    `[{"type": "small" | "large", "text": ..., "index": n}]`. Added up over chunks, the list has
    one entry for each stretch of text by one author, tool calls included.
    """

    def __init__(self, *, model_name: str, request_id: str) -> None:
        self._model_name = model_name
        self._request_id = request_id
        self._author: Author | None = None
        self._stretch = -1

    def chunk(self, delta: Delta) -> ChatGenerationChunk | None:
        """Return the chunk of a delta; None where it has nothing to show."""
        if not delta.text:
            return None
        if delta.author is not self._author:
            self._author = delta.author
            self._stretch += 1
        stretch = {"type": str(delta.author), "text": delta.text, "index": self._stretch}
        extra: dict[str, Any] = {"authors": [stretch]}
        if delta.channel is Channel.REASONING:
            extra["reasoning_content"] = delta.text
        content = delta.text if delta.channel is Channel.ANSWER else ""
        return ChatGenerationChunk(message=AIMessageChunk(content=content, additional_kwargs=extra))

    def last(self, completion: Completion) -> ChatGenerationChunk:
        """Return the last chunk: tool calls, usage and what the reply took."""
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                tool_call_chunks=self._calls(completion.tool_calls),
                usage_metadata=_usage(completion),
                response_metadata={
                    "model_name": self._model_name,
                    "model_provider": "splitreason",
                    "finish_reason": _finish_reason(completion),
                    "seed": completion.seed,
                    "splitreason": completion.facts(),
                },
                chunk_position="last",
            )
        )

    def _calls(self, calls: Sequence[ToolCall]) -> list[ToolCallChunk]:
        return [
            tool_call_chunk(
                id=f"{call.id}_{self._request_id}",
                name=call.name or None,
                args=_arguments(call),
                index=_FIRST_TOOL_INDEX + at,
            )
            for at, call in enumerate(calls)
        ]


def _arguments(call: ToolCall) -> str:
    if call.arguments is None:
        # The marker keeps LangChain from repairing broken JSON into a call nobody made.
        return f"<tool_call>{call.raw}"
    return json.dumps(dict(call.arguments), ensure_ascii=False)


def _usage(completion: Completion) -> UsageMetadata:
    # LangChain lets output details carry further keys, which its type does not say.
    details = {"reasoning": completion.reasoning_tokens, "large": completion.large_tokens}
    return UsageMetadata(
        input_tokens=completion.prompt_tokens,
        output_tokens=completion.tokens,
        total_tokens=completion.prompt_tokens + completion.tokens,
        output_token_details=OutputTokenDetails(**details),  # type: ignore[typeddict-item]
    )


def _finish_reason(completion: Completion) -> str:
    if completion.tool_calls and completion.stop_reason == "stop":
        return "tool_calls"
    return "stop" if completion.stop_reason == "stop_string" else completion.stop_reason

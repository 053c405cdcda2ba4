"""The engine's deltas and completion → LangChain chunks and messages.

A message is the sum of its chunks, so that streaming and invoking give the same.
"""

import json
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall
from langchain_core.messages.ai import OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from splitreason_integrations.records import Author, CallPiece, Channel, Completion, Delta

_FIRST_TOOL_INDEX = 2
"""Lower ones are taken: LangChain numbers the reasoning 0 and the text 1 when it makes blocks."""
_BROKEN = "<tool_call>"
"""In front of a call that cannot be made, where LangChain would make one of what was written."""
_ENDINGS = ("]", "}", '"]', '"}', '""]', '""}')
"""Behind a call that was shown before it broke, for the same reason."""


class ReplyWriter:
    """Turns one reply's deltas into chunks, and its completion into the last one.

    `additional_kwargs["authors"]` of a chunk says who wrote its text:
    `[{"type": "small" | "large" | "human", "text": ..., "index": n}]`. Added up over chunks, the
    list has one entry for each run of text by one author in one part of the reply. The first chunk
    of a run names the part: `"channel": "reasoning" | "answer" | "tool_call"`.
    """

    def __init__(self, *, model_name: str, request_id: str) -> None:
        self._model_name = model_name
        self._request_id = request_id
        self._run: tuple[Author, Channel] | None = None
        self._number = -1
        self._arguments: dict[int, str] = {}

    def chunk(self, delta: Delta) -> ChatGenerationChunk | None:
        """Return the chunk of a delta; None where it has nothing to show."""
        if not delta.text and not delta.calls:
            return None
        message = AIMessageChunk(
            content=delta.text if delta.channel is Channel.ANSWER else "",
            additional_kwargs=self._extra(delta) if delta.text else {},
            tool_call_chunks=[self._call(piece) for piece in delta.calls],
        )
        return ChatGenerationChunk(message=message)

    def _extra(self, delta: Delta) -> dict[str, Any]:
        run: dict[str, Any] = {"type": str(delta.author), "text": delta.text}
        if (delta.author, delta.channel) != self._run:
            self._run = delta.author, delta.channel
            self._number += 1
            # Only here: LangChain joins equal texts of chunks that it adds up.
            run["channel"] = str(delta.channel)
        extra: dict[str, Any] = {"authors": [{**run, "index": self._number}]}
        if delta.channel is Channel.REASONING:
            extra["reasoning_content"] = delta.text
        return extra

    def last(self, completion: Completion) -> ChatGenerationChunk:
        """Return the last chunk: usage, and the reply's tokens, spans, time and cost."""
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
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

    def _call(self, piece: CallPiece) -> ToolCallChunk:
        before = self._arguments.get(piece.index)
        arguments = piece.arguments
        if piece.broken:
            arguments = _unreadable(arguments) if before is None else _unmatched(before)
        self._arguments[piece.index] = (before or "") + arguments
        return tool_call_chunk(
            id=f"call_{piece.index}_{self._request_id}" if before is None else None,
            name=piece.name or None,
            args=arguments,
            index=_FIRST_TOOL_INDEX + piece.index,
        )


def _unmatched(text: str) -> str:
    """Return an ending that LangChain cannot repair: it would make a call that nobody made."""
    return next(end for end in _ENDINGS if not isinstance(_repaired(text + end), dict))


def _unreadable(text: str) -> str:
    return text if text and not isinstance(_repaired(text), dict) else f"{_BROKEN}{text}"


def as_written(text: str) -> str:
    """Return the arguments of an invalid call without what `ReplyWriter` put around them."""
    text = text.removeprefix(_BROKEN)
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return text
    return text[:end] if text[end:] in _ENDINGS else text


def with_errors(result: ChatResult) -> ChatResult:
    """Return a result whose invalid calls say why they are: adding chunks up loses that."""
    for generation in result.generations:
        message = generation.message
        if isinstance(message, AIMessage):
            for call in message.invalid_tool_calls:
                call["error"] = error_of(message, call)
    return result


def error_of(message: AIMessage, call: InvalidToolCall) -> str | None:
    """Return why a call of a message is invalid; None where that is not known."""
    known = message.response_metadata.get("splitreason", {}).get("invalid_calls", {})
    found = (why for number, why in known.items() if (call["id"] or "").startswith(f"{number}_"))
    return next(found, call["error"])


def refusal(message: AIMessage, call: InvalidToolCall) -> str:
    """Return the result of a call that was not made, for the model."""
    return f"Error: the tool was not run: {error_of(message, call) or 'the call is not valid'}"


def _repaired(text: str) -> Any:
    try:
        return parse_partial_json(text)
    except ValueError:
        return None


def _usage(completion: Completion) -> UsageMetadata:
    # LangChain accepts further keys in output details; its type does not list them.
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

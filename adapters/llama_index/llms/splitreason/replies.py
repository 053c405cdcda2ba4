"""The engine's deltas and completion → LlamaIndex responses, as they grow."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.utils import parse_partial_json

from splitreason_integrations.records import (
    Author,
    CallPiece,
    Channel,
    Completion,
    Delta,
    ToolCall,
)


class ReplyWriter:
    """Adds up one reply: every response holds the whole message so far and what is new.

    `raw["authors"]` says who wrote the text, as `[{"type": "small" | "large" | "human",
    "channel": "reasoning" | "answer" | "tool_call", "text": ...}]`, one entry for each run of text
    by one author in one part of the reply.
    """

    def __init__(self, *, model_name: str, request_id: str) -> None:
        self._model_name = model_name
        self._request_id = request_id
        self._reasoning = ""
        self._answer = ""
        self._authors: list[dict[str, str]] = []
        self._calls: list[dict[str, str]] = []

    def response(self, delta: Delta) -> ChatResponse | None:
        """Return the response that a delta makes; None where it has nothing to show."""
        if not delta.text and not delta.calls:
            return None
        if delta.text:
            self._add_run(delta.author, delta.channel, delta.text)
        for piece in delta.calls:
            self._add_call(piece)
        if delta.channel is Channel.REASONING:
            self._reasoning += delta.text
        elif delta.channel is Channel.ANSWER:
            self._answer += delta.text
        thinking = delta.text if delta.channel is Channel.REASONING else None
        return ChatResponse(
            message=self._message(),
            delta=delta.text if delta.channel is Channel.ANSWER else "",
            raw={"authors": [dict(one) for one in self._authors]},
            additional_kwargs={"thinking_delta": thinking} if thinking else {},
        )

    def last(self, completion: Completion) -> ChatResponse:
        """Return the finished response: tool calls, usage, and the reply's time and cost."""
        self._reasoning, self._answer = completion.reasoning, completion.answer
        usage = {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.tokens,
            "total_tokens": completion.prompt_tokens + completion.tokens,
        }
        parts = {
            "reasoning_tokens": completion.reasoning_tokens,
            "large_tokens": completion.large_tokens,
        }
        return ChatResponse(
            message=self._message(completion),
            delta="",
            raw={
                "model": self._model_name,
                "finish_reason": completion.stop_reason,
                "seed": completion.seed,
                # LlamaIndex's token counters read this, and estimate where it is missing.
                "usage": {**usage, "completion_tokens_details": parts},
                "authors": self._authors,
                "splitreason": completion.facts(),
            },
            additional_kwargs={**usage, **parts},
        )

    def _add_run(self, author: Author, channel: Channel, text: str) -> None:
        run = {"type": str(author), "channel": str(channel)}
        if not self._authors or not run.items() <= self._authors[-1].items():
            self._authors.append({**run, "text": ""})
        self._authors[-1]["text"] += text

    def _message(self, completion: Completion | None = None) -> ChatMessage:
        blocks: list[ContentBlock] = []
        if self._reasoning:
            tokens = completion.reasoning_tokens if completion else None
            blocks.append(ThinkingBlock(content=self._reasoning, num_tokens=tokens))
        blocks.append(TextBlock(text=self._answer))
        calls = self._finished(completion.tool_calls) if completion else self._growing()
        # LlamaIndex's streaming of structured output looks for calls in the extra arguments only.
        extra: dict[str, Any] = {"tool_calls": calls} if calls else {}
        return ChatMessage(
            role=MessageRole.ASSISTANT, blocks=[*blocks, *calls], additional_kwargs=extra
        )

    def _add_call(self, piece: CallPiece) -> None:
        while len(self._calls) <= piece.index:
            self._calls.append({"name": "", "arguments": ""})
        call = self._calls[piece.index]
        call["name"] += piece.name or ""
        call["arguments"] += piece.arguments

    def _growing(self) -> list[ToolCallBlock]:
        """Return the calls as far as they are written, with the arguments that are known."""
        return [
            ToolCallBlock(
                tool_call_id=f"call_{at}_{self._request_id}",
                tool_name=call["name"],
                tool_kwargs=_known(call["arguments"]),
            )
            for at, call in enumerate(self._calls)
        ]

    def _finished(self, calls: Sequence[ToolCall]) -> list[ToolCallBlock]:
        return [
            ToolCallBlock(
                tool_call_id=f"{call.id}_{self._request_id}",
                tool_name=call.name,
                tool_kwargs=call.raw if call.arguments is None else dict(call.arguments),
            )
            for call in calls
        ]


def _known(text: str) -> dict[str, Any]:
    try:
        return dict(parse_partial_json(text))
    except (TypeError, ValueError):
        return {}

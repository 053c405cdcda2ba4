"""What is known about a generation. Every piece of text carries its author."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

Message = Mapping[str, Any]
"""One chat message: `role`, `content` and, where they apply, `name`, `reasoning_content`,
`tool_calls` and `tool_call_id`, as chat templates of transformers take them."""


class Author(StrEnum):
    """Who wrote a piece of text."""

    SMALL = "small"
    LARGE = "large"
    HUMAN = "human"


Writer = tuple[Author, int]
"""An author and the number of the model among the author's: there may be several large ones."""


class Channel(StrEnum):
    """The part of the reply that a piece of text belongs to."""

    REASONING = "reasoning"
    ANSWER = "answer"
    TOOL_CALL = "tool_call"


@dataclass(frozen=True, slots=True)
class CallPiece:
    """What is new of the reply's tool call number `index`.

    The first piece of a call has its name; the `arguments` of all its pieces, joined, are JSON.
    A broken piece says that this call cannot be made: its JSON is not valid, or the reply ended
    within it.
    """

    index: int
    name: str | None
    arguments: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a reply.

    `token_ids` are the author's own ids that this delta accounts for; joined over a stream they
    are all tokens written, so a delta may have ids and no text (a control token) or, where text
    was held back to look for a stop string, text and no ids. `calls` is what the text adds to
    tool calls.
    """

    text: str
    token_ids: tuple[int, ...]
    author: Author
    channel: Channel
    calls: tuple[CallPiece, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call the reply asks for. `arguments` is None where the model wrote no valid JSON."""

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw: str


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """What the large model wrote in one go.

    `start_token` is the number of reply tokens before the span, `tokens` the ones kept,
    `surplus_tokens` the ones generated past the cut and dropped (they are in `cost_usd`).
    """

    start_token: int
    tokens: int
    text: str
    opened_by: str
    closed_by: str
    latency_s: float
    cost_usd: float
    surplus_tokens: int = 0
    attempts: int = 1
    human: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens of one author, as they stand in the transcript.

    `model` is the number of the model among the author's. What a person wrote is in the small
    model's tokens.
    """

    author: Author
    token_ids: tuple[int, ...]
    model: int = 0

    @property
    def writer(self) -> Writer:
        """The author and the number of its model."""
        return self.author, self.model


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished reply and what it took; `request_id` is that of its events.

    `latency_s` leaves out `loading_s`, which local weights took at their first use.
    `cost_usd` is that of all; `read_ahead_usd`, the part of it that it cost to have the large model
    read ahead, is in no span's own.
    """

    request_id: str
    reasoning: str
    answer: str
    tool_calls: tuple[ToolCall, ...]
    pieces: tuple[Piece, ...]
    spans: tuple[SpanRecord, ...]
    prompt_tokens: int
    small_tokens: int
    large_tokens: int
    reasoning_tokens: int
    stop_reason: str
    latency_s: float
    cost_usd: float
    degraded: bool
    seed: int
    human_tokens: int = 0
    loading_s: float = 0.0
    read_ahead_usd: float = 0.0

    @property
    def tokens(self) -> int:
        """All tokens of the reply, those that a person wrote included."""
        return self.small_tokens + self.large_tokens + self.human_tokens

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens; 0.0 for an empty reply."""
        generated = self.small_tokens + self.large_tokens
        return self.large_tokens / generated if generated else 0.0

    def facts(self) -> dict[str, Any]:
        """Return the plain-data summary that both adapters publish."""
        tokens = {"small": self.small_tokens, "large": self.large_tokens}
        if self.human_tokens:
            tokens["human"] = self.human_tokens
        return {
            "request_id": self.request_id,
            "tokens": tokens,
            "offload_share": self.offload_share,
            "spans": [asdict(span) for span in self.spans],
            "stop_reason": self.stop_reason,
            "latency_s": self.latency_s,
            "cost_usd": self.cost_usd,
            "degraded": self.degraded,
            **({"loading_s": self.loading_s} if self.loading_s else {}),
        }


def delta_from(data: Mapping[str, Any]) -> Delta:
    """Return the delta whose fields, as plain data, these are."""
    calls = tuple(CallPiece(**call) for call in data["calls"])
    author, channel = Author(data["author"]), Channel(data["channel"])
    return Delta(data["text"], tuple(data["token_ids"]), author, channel, calls)


def completion_from(data: Mapping[str, Any]) -> Completion:
    """Return the completion whose fields, as plain data, these are."""
    pieces = [
        Piece(Author(one["author"]), tuple(one["token_ids"]), one["model"])
        for one in data["pieces"]
    ]
    parts = {
        "tool_calls": tuple(ToolCall(**call) for call in data["tool_calls"]),
        "pieces": tuple(pieces),
        "spans": tuple(SpanRecord(**span) for span in data["spans"]),
    }
    return Completion(**{**data, **parts})


def token_ids(pieces: Sequence[Piece]) -> list[int]:
    """Return the ids of consecutive pieces, joined."""
    return [token for piece in pieces for token in piece.token_ids]

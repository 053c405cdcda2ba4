"""Values that a reply is made of. Every piece of text has an author."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from splitreason_integrations.records.authors import Author as Author
from splitreason_integrations.records.authors import Channel as Channel
from splitreason_integrations.records.authors import TextRun as TextRun
from splitreason_integrations.records.authors import Writer as Writer
from splitreason_integrations.records.metadata import ReplyMetadata, TokenCounts
from splitreason_integrations.records.view import ReplyView

Message = Mapping[str, Any]
"""One chat message: `role`, `content` and, where they apply, `name`, `reasoning_content`,
`tool_calls` and `tool_call_id`, as chat templates of transformers take them."""


@dataclass(frozen=True, slots=True)
class CallPiece:
    """New text of one tool call.

    Attributes:
        index: The call's number within the reply, from 0.
        name: The tool's name in the first piece of a call, None in the others.
        arguments: Part of the arguments; joined over all pieces of a call they are JSON.
        broken: Whether the call cannot be made: its JSON is not valid, the reply ended in it, or
            it does not fit the tool.

    """

    index: int
    name: str | None
    arguments: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a reply.

    Attributes:
        text: The text, possibly empty.
        token_ids: The author's tokens that this delta accounts for. Joined over a stream they are
            all tokens of the reply, so a delta may have ids and no text (a control token), or text
            and no ids (text that was held back to look for a stop string).
        author: Who wrote it.
        channel: The part of the reply that it belongs to.
        calls: What the text adds to tool calls.

    """

    text: str
    token_ids: tuple[int, ...]
    author: Author
    channel: Channel
    calls: tuple[CallPiece, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call that the reply asks for.

    Attributes:
        id: Identifies the call within the conversation.
        name: The tool's name.
        arguments: The arguments; None where the call cannot be made.
        raw: What the model wrote: the arguments, or the whole call where no name can be read.
        error: Why the call cannot be made; empty where it can.

    """

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span: what the large model wrote in one go.

    Attributes:
        start_token: Reply tokens before the span.
        tokens: Tokens of the span that were kept.
        text: Their text.
        opened_by: The trigger that opened it.
        closed_by: Why it ended: the close rule as text, or a value of `endings.CLOSED_BY`.
        latency_s: Seconds from its opening to its end.
        cost_usd: Its cost in USD, surplus tokens included.
        surplus_tokens: Tokens that were generated behind its end and dropped.
        attempts: Calls of large models that it took.
        human: What a person decided and who, where one was asked.

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
    """Consecutive tokens of one author.

    Attributes:
        author: Who wrote them.
        token_ids: Tokens of the author's model; of the small model for a person.
        model: The number of the model among the author's, from 0.

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
    """A finished reply.

    Attributes:
        request_id: The request's id, as in its events.
        reasoning: The text of the reasoning.
        answer: The text of the answer.
        tool_calls: The tool calls that it asks for.
        pieces: All tokens by author, in order.
        spans: The spans, in order.
        prompt_tokens: Tokens of the prompt, as the small model reads it.
        small_tokens: Reply tokens of the small model.
        large_tokens: Reply tokens of the large models that were kept.
        reasoning_tokens: Reply tokens of the reasoning.
        stop_reason: Why the reply ended: a value of `endings.STOP_REASONS`.
        latency_s: Seconds that it took, without `loading_s`.
        cost_usd: Its cost in USD, prefill included.
        degraded: Whether the small model went on because every large model failed.
        seed: The seed that repeats it.
        human_tokens: Reply tokens that a person wrote.
        loading_s: Seconds for which local weights were loaded at their first use.
        trigger: What opened its spans, as text.
        close: What ended them, as text; empty where none could be handed back.
        choice_reason: Why these were chosen; None where both were named.
        read_ahead_usd: The part of `cost_usd` that the large model's reading took while the small
            one wrote; it is in no span's cost.
        read_ahead_tokens: Tokens that the large model read meanwhile.
        small_surplus_tokens: Tokens that the small model wrote behind a span's opening; they are
            dropped.
        max_reasoning_tokens: The cap on `reasoning_tokens`; None for none.
        reasoning_was_ended: Whether the reasoning was ended because it had reached that.
        runs: The text by author and part, in order.

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
    trigger: str = ""
    close: str = ""
    choice_reason: str | None = None
    read_ahead_usd: float = 0.0
    read_ahead_tokens: int = 0
    small_surplus_tokens: int = 0
    max_reasoning_tokens: int | None = None
    reasoning_was_ended: bool = False
    runs: tuple[TextRun, ...] = ()

    @property
    def tokens(self) -> int:
        """All tokens of the reply, those that a person wrote included."""
        return self.small_tokens + self.large_tokens + self.human_tokens

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens; 0.0 for an empty reply."""
        generated = self.small_tokens + self.large_tokens
        return self.large_tokens / generated if generated else 0.0

    @property
    def view(self) -> ReplyView:
        """The reply as notebooks show it."""
        runs = self.runs or (
            TextRun(None, Channel.REASONING, self.reasoning),
            TextRun(None, Channel.ANSWER, self.answer),
        )
        return ReplyView(runs, self.facts())

    def _repr_html_(self) -> str:
        return self.view._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.view._repr_markdown_()

    def facts(self) -> ReplyMetadata:
        """Return the plain-data summary that both adapters publish."""
        tokens: TokenCounts = {"small": self.small_tokens, "large": self.large_tokens}
        if self.human_tokens:
            tokens["human"] = self.human_tokens
        facts: ReplyMetadata = {
            "request_id": self.request_id,
            "tokens": tokens,
            "offload_share": self.offload_share,
            "spans": [asdict(span) for span in self.spans],
            "stop_reason": self.stop_reason,
            "latency_s": self.latency_s,
            "cost_usd": self.cost_usd,
            "degraded": self.degraded,
        }
        if self.trigger:
            facts["trigger"] = self.trigger
        if self.close:
            facts["close"] = self.close
        if invalid := {call.id: call.error for call in self.tool_calls if call.error}:
            facts["invalid_calls"] = invalid
        if self.choice_reason:
            facts["choice_reason"] = self.choice_reason
        if self.loading_s:
            facts["loading_s"] = self.loading_s
        if self.read_ahead_tokens or self.small_surplus_tokens:
            facts["reading"] = {
                "large_tokens": self.read_ahead_tokens,
                "cost_usd": self.read_ahead_usd,
                "small_surplus_tokens": self.small_surplus_tokens,
            }
        if self.max_reasoning_tokens is not None:
            facts["reasoning"] = {
                "tokens": self.reasoning_tokens,
                "max_tokens": self.max_reasoning_tokens,
                "was_ended": self.reasoning_was_ended,
            }
        return facts


def runs_of(deltas: Iterable[Delta]) -> tuple[TextRun, ...]:
    """Return the text of deltas by author and part."""
    shown = (delta for delta in deltas if delta.text)
    groups = groupby(shown, key=lambda delta: (delta.author, delta.channel))
    return tuple(
        TextRun(author, channel, "".join(delta.text for delta in run))
        for (author, channel), run in groups
    )


def delta_from(data: Mapping[str, Any]) -> Delta:
    """Return the delta with these fields, which are plain data."""
    calls = tuple(CallPiece(**call) for call in data["calls"])
    author, channel = Author(data["author"]), Channel(data["channel"])
    return Delta(data["text"], tuple(data["token_ids"]), author, channel, calls)


def run_from(data: Mapping[str, Any]) -> TextRun:
    """Return the run of text with these fields, which are plain data."""
    author = data["author"]
    return TextRun(
        None if author is None else Author(author), Channel(data["channel"]), data["text"]
    )


def completion_from(data: Mapping[str, Any]) -> Completion:
    """Return the completion with these fields, which are plain data."""
    pieces = [
        Piece(Author(one["author"]), tuple(one["token_ids"]), one["model"])
        for one in data["pieces"]
    ]
    parts = {
        "tool_calls": tuple(ToolCall(**call) for call in data["tool_calls"]),
        "pieces": tuple(pieces),
        "spans": tuple(SpanRecord(**span) for span in data["spans"]),
        "runs": tuple(map(run_from, data.get("runs", ()))),
    }
    return Completion(**{**data, **parts})


def token_ids(pieces: Sequence[Piece]) -> list[int]:
    """Return the ids of consecutive pieces, joined."""
    return [token for piece in pieces for token in piece.token_ids]

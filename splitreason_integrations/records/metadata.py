"""What a reply's metadata holds: the keys of `response_metadata["splitreason"]`.

Both chat models, `splitreason ask --json` and the audit log have the same ones.
"""

from typing import Any, NotRequired, TypedDict


class TokenCounts(TypedDict):
    """Reply tokens by author.

    Attributes:
        small: Tokens of the small model.
        large: Tokens of the large models that were kept.
        human: Tokens that a person wrote; only where one did.

    """

    small: int
    large: int
    human: NotRequired[int]


class ReadAhead(TypedDict):
    """What it took that the large model read along while the small one wrote.

    Attributes:
        large_tokens: Tokens that the large model read meanwhile.
        cost_usd: What that cost, in USD; it is in no span's cost.
        small_surplus_tokens: Tokens that the small model wrote behind a span's opening; they are
            dropped.

    """

    large_tokens: int
    cost_usd: float
    small_surplus_tokens: int


class CappedReasoning(TypedDict):
    """How long the reasoning was, and how long it could be.

    Attributes:
        tokens: Tokens of the reasoning.
        max_tokens: The cap, `max_reasoning_tokens`.
        was_ended: Whether the reasoning reached it and was ended.

    """

    tokens: int
    max_tokens: int
    was_ended: bool


class ReplyMetadata(TypedDict):
    """What is known of a finished reply, as plain data.

    Attributes:
        request_id: The request's id, as in its events.
        tokens: Reply tokens by author.
        offload_share: Large-model tokens ÷ all generated tokens; 0.0 for an empty reply.
        spans: The spans, in order.
        stop_reason: Why the reply ended: a value of `endings.STOP_REASONS`.
        latency_s: Seconds that it took, without `loading_s`.
        cost_usd: Its cost in USD, prefill included.
        degraded: Whether the small model went on because every large model failed.
        trigger: What opened its spans, as text; only where it is known.
        close: What ended them, as text; only where spans are handed back.
        choice_reason: Why these were chosen; only where one of them was not named.
        invalid_calls: Why tool calls cannot be made, by their ids within the reply (`call_0` is
            the first); only where there are such calls.
        loading_s: Seconds for which local weights were loaded at their first use; only where they
            were.
        reading: What reading along took; only where the large model read along.
        reasoning: How long the reasoning was; only where it was capped.

    """

    request_id: str
    tokens: TokenCounts
    offload_share: float
    spans: list[dict[str, Any]]
    stop_reason: str
    latency_s: float
    cost_usd: float
    degraded: bool
    trigger: NotRequired[str]
    close: NotRequired[str]
    choice_reason: NotRequired[str]
    invalid_calls: NotRequired[dict[str, str]]
    loading_s: NotRequired[float]
    reading: NotRequired[ReadAhead]
    reasoning: NotRequired[CappedReasoning]

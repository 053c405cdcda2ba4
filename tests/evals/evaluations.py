"""Hand-made results for tests of reports and comparisons."""

from splitreason_integrations.evals.answering import Outcome
from splitreason_integrations.evals.results import Result
from splitreason_integrations.records import Completion, SpanRecord


def completion(*, small=10, large=0, latency_s=1.0, answer="42", cost_usd=0.0):
    """A reply with one span, if the large model wrote anything."""
    spans = (SpanRecord(3, large, "span", "tag", "tag", 0.25, cost_usd),) if large else ()
    return Completion(
        request_id="r",
        reasoning="",
        answer=answer,
        tool_calls=(),
        pieces=(),
        spans=spans,
        prompt_tokens=5,
        small_tokens=small,
        large_tokens=large,
        reasoning_tokens=small,
        stop_reason="end",
        latency_s=latency_s,
        cost_usd=cost_usd,
        degraded=False,
        seed=0,
    )


def outcome(right, *, large=0, texts=(), **reply):
    """An answer with one reply."""
    return Outcome(right, (completion(large=large, **reply),), tuple(texts), 1.0)


def result(mode, rights, *, large=None, samples=1, small="", **rest):
    """A result whose answers, task after task, were right or wrong."""
    large = large or [0] * len(rights)
    outcomes = tuple(
        outcome(bool(right), large=tokens) for right, tokens in zip(rights, large, strict=True)
    )
    return Result(
        mode=mode, trigger="tag", outcomes=outcomes, seed=0, small=small, samples=samples, **rest
    )

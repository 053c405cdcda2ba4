"""Find hard spans: the probability that a model misses a span of a trace known to be correct.

Works on any traces with candidate spans. The probability of success is the product of the
probabilities of the span's tokens, which is exactly the success rate when sampling at temperature
1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]


@dataclass(frozen=True)
class Trace:
    """A prompt with a correct reply, and candidate spans in it.

    Attributes:
        ids: Token ids of prompt and reply.
        spans: Candidate spans as (start, end) token positions.

    Raises:
        ValueError: A span is not inside the trace.

    """

    ids: Sequence[int]
    spans: Sequence[Span]

    def __post_init__(self) -> None:
        for start, end in self.spans:
            if not 0 < start < end <= len(self.ids):
                raise ValueError(
                    f"span {start}:{end} is not inside a trace of {len(self.ids)} tokens"
                )


def failure_rates(
    model: Any,
    traces: Sequence[Trace],
    *,
    never: int | None = None,
    batch_tokens: int = 16_384,
    window_tokens: int | None = None,
) -> list[list[float]]:
    """Return, for each trace, the probability that the model misses each candidate span.

    Args:
        model: A transformers causal language model.
        traces: The traces, in any order.
        never: A token whose probability is set to 0, such as a tag that the model has learned.
        batch_tokens: Tokens per batch, padding included.
        window_tokens: Tokens per row in one forward pass; None for all. A window limits the memory
            for logits of a large vocabulary.

    """
    import torch

    rates: list[list[float]] = [[] for _ in traces]
    order = sorted(range(len(traces)), key=lambda i: len(traces[i].ids))
    with torch.inference_mode():
        for group in _groups(order, traces, batch_tokens):
            rows = [traces[i].ids for i in group]
            logs = token_logs(model, rows, never, window_tokens).tolist()
            for row, i in zip(logs, group, strict=True):
                sums = [sum(row[start - 1 : end - 1]) for start, end in traces[i].spans]
                rates[i] = [max(0.0, 1.0 - math.exp(total)) for total in sums]
    return rates


def tag_probability(small_fails: float, large_fails: float, *, tries: float) -> float:
    """Return the probability with which a step is to be tagged.

    It is the probability that at least one of `tries` attempts of the small model fails a step that
    the large model would not fail.

    Raises:
        ValueError: A rate is outside 0 to 1, or `tries` is not positive.

    """
    if not (0 <= small_fails <= 1 and 0 <= large_fails <= 1) or tries <= 0:
        raise ValueError("failure rates must lie between 0 and 1, and tries must be positive")
    gap = max(0.0, small_fails - large_fails)
    return float(1.0 - (1.0 - gap) ** tries)


def _groups(order: Sequence[int], traces: Sequence[Trace], batch_tokens: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for i in order:
        if groups and len(traces[i].ids) * (len(groups[-1]) + 1) <= batch_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def token_logs(
    model: Any, rows: Sequence[Sequence[int]], never: int | None, window: int | None
) -> Tensor:
    """Return log P of each token after the first, shape (rows, longest row − 1), right-padded."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    ids = ids.to(model.device)
    if window is None or width - 1 <= window:
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        return _chosen_logs(logits, ids[:, 1:], never)
    cache: Any = None
    logs: list[Tensor] = []
    for start in range(0, width - 1, window):
        end = min(start + window, width - 1)
        output = model(input_ids=ids[:, start:end], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logs.append(_chosen_logs(output.logits, ids[:, start + 1 : end + 1], never))
    return torch.cat(logs, dim=1)


def _chosen_logs(logits: Tensor, chosen: Tensor, never: int | None) -> Tensor:
    logits = logits.float()
    if never is not None:
        logits[..., never] = float("-inf")
    logs: Tensor = logits.gather(-1, chosen[..., None]).squeeze(-1) - logits.logsumexp(-1)
    return logs.cpu()

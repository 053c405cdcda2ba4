"""Finding hard spans: how often a model misses a stretch of a trace that is known to be right.

Works on any traces with candidate spans. A span's chance of success is the product of the
probabilities of its tokens, which is exactly the success rate when sampling at temperature one.
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
    """Token ids of a prompt with a correct reply, and candidate spans as (start, end) positions."""

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
) -> list[list[float]]:
    """Return, for each trace, how likely the model is to miss each candidate span.

    Args:
        model: a causal language model of transformers.
        traces: what to score, in any order of length.
        never: a token that the model is not to choose, such as the tag that it has learned.
        batch_tokens: tokens in one forward pass, padding included.

    """
    import torch

    rates: list[list[float]] = [[] for _ in traces]
    order = sorted(range(len(traces)), key=lambda i: len(traces[i].ids))
    with torch.inference_mode():
        for group in _groups(order, traces, batch_tokens):
            logs = token_logs(model, [traces[i].ids for i in group], never)
            for row, i in enumerate(group):
                sums = [
                    float(logs[row, start - 1 : end - 1].sum()) for start, end in traces[i].spans
                ]
                rates[i] = [max(0.0, 1.0 - math.exp(total)) for total in sums]
    return rates


def tag_probability(small_fails: float, large_fails: float, *, tries: float) -> float:
    """Return how often a step is to be tagged.

    The label is the chance that at least one of `tries` attempts of the small model fails a
    step that the large model would not fail.

    Raises:
        ValueError: if a rate is outside 0 to 1, or `tries` is not positive.

    """
    if not (0 <= small_fails <= 1 and 0 <= large_fails <= 1) or tries <= 0:
        raise ValueError("failure rates lie between 0 and 1, and tries are positive")
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


def token_logs(model: Any, rows: Sequence[Sequence[int]], never: int | None) -> Tensor:
    """Return log P of each token after the first; rows are padded on the right."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    ids = ids.to(model.device)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    if never is not None:
        logits[..., never] = float("-inf")
    chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
    logs: Tensor = (chosen - logits.logsumexp(-1)).cpu()
    return logs

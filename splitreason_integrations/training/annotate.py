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
    window_tokens: int | None = None,
) -> list[list[float]]:
    """Return, for each trace, how likely the model is to miss each candidate span.

    Args:
        model: a causal language model of transformers.
        traces: what to score, in any order of length.
        never: a token that the model is not to choose, such as the tag that it has learned.
        batch_tokens: tokens of traces that are read together, padding included.
        window_tokens: tokens of each in one forward pass, all of them without; a large vocabulary
            takes much memory for each.

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


def token_logs(
    model: Any, rows: Sequence[Sequence[int]], never: int | None, window: int | None
) -> Tensor:
    """Return log P of each token after the first; rows are padded on the right."""
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

"""Penalties on tokens that a sequence has already, as transformers and vLLM compute them.

They follow from the sequence alone, so that cuts and the length of orders change nothing.
"""

from collections.abc import Sequence

import torch

from splitreason_integrations.sampling import Sampling


class Penalties:
    """How often one sequence has each token, kept up to date as it grows and is cut."""

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._counted: list[int] = []
        self._counts = torch.zeros((2, 0), dtype=torch.int32)

    def apply(self, logits: torch.Tensor, sampling: Sampling, ids: Sequence[int]) -> torch.Tensor:
        """Return the logits (vocabulary,) of what comes behind `ids`, with the penalties set."""
        asked = sampling.penalties
        self._count(ids, logits)
        whole, reply = self._counts
        scores = logits.float()
        if factor := asked.get("repetition_penalty"):
            penalised = torch.where(scores < 0, scores * factor, scores / factor)
            scores = torch.where(whole > 0, penalised, scores)
        if once := asked.get("presence_penalty"):
            scores = scores - once * (reply > 0)
        if each := asked.get("frequency_penalty"):
            scores = scores - each * reply
        size = sampling.no_repeat_ngram_size
        return _without_repeats(scores, ids, size) if size else scores

    def _count(self, ids: Sequence[int], logits: torch.Tensor) -> None:
        if self._counts.shape[1] == 0:
            self._counts = torch.zeros((2, len(logits)), dtype=torch.int32, device=logits.device)
        known = _shared(self._counted, ids)
        self._add(self._counted[known:], known, -1)
        self._add(ids[known:], known, 1)
        self._counted[known:] = ids[known:]

    def _add(self, ids: Sequence[int], start: int, sign: int) -> None:
        in_prompt = max(0, self._prompt_tokens - start)
        for counts, tokens in zip(self._counts, (ids, ids[in_prompt:]), strict=True):
            if tokens:
                index = torch.tensor(tokens, device=counts.device)
                counts.index_add_(0, index, counts.new_full((len(tokens),), sign))


def _shared(before: Sequence[int], now: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    if before == now[: len(before)]:
        return len(before)
    pairs = enumerate(zip(before, now, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(before), len(now)))


def _without_repeats(scores: torch.Tensor, ids: Sequence[int], size: int) -> torch.Tensor:
    """Return scores without the tokens that would end an n-gram that `ids` have.

    Where no other token may come, all of them stay.
    """
    ids = list(ids)
    behind = ids[len(ids) - size + 1 :] if size > 1 else []
    starts = range(len(ids) - size + 1)
    banned = {ids[at + size - 1] for at in starts if ids[at : at + size - 1] == behind}
    if not banned:
        return scores
    without = scores.index_fill(0, torch.tensor(sorted(banned), device=scores.device), -torch.inf)
    return without if bool(without.isfinite().any()) else scores

"""What logits say about tokens that were read."""

from collections.abc import Sequence

import torch

from splitreason_integrations.backends.base import TokenFacts, Wanted


def facts_of(
    wanted: Wanted,
    tokens: Sequence[int],
    *,
    before: torch.Tensor | None,
    after: torch.Tensor,
    without: torch.Tensor | None,
) -> list[TokenFacts]:
    """Return the wanted facts of some tokens.

    Args:
        wanted: which facts.
        tokens: the tokens (n).
        before: logits (n, vocabulary) that each token was drawn from, or (n - 1, vocabulary) where
            the first token begins the sequence; None if they are not wanted.
        after: logits (n, vocabulary) of what comes behind each token.
        without: index of tokens that are never chosen; None for none.

    """
    chances = entropies = [0.0] * len(tokens)
    if wanted.probability_of is not None:
        chances = after.float().softmax(-1)[:, wanted.probability_of].tolist()
    if wanted.entropy:
        entropies = torch.special.entr(_allowed(after, without).softmax(-1)).sum(-1).tolist()
    own, likeliest = [1.0] * len(tokens), [True] * len(tokens)
    if before is not None and len(before):
        first = len(tokens) - len(before)
        allowed, drawn = _allowed(before, without), torch.tensor(tokens[first:])
        drawn = drawn.to(allowed.device)
        own[first:] = allowed.softmax(-1).gather(-1, drawn[:, None])[:, 0].tolist()
        likeliest[first:] = (allowed.argmax(-1) == drawn).tolist()
    return [TokenFacts(*one) for one in zip(chances, entropies, own, likeliest, strict=True)]


def _allowed(logits: torch.Tensor, without: torch.Tensor | None) -> torch.Tensor:
    logits = logits.float()
    return logits if without is None else logits.index_fill(-1, without, float("-inf"))

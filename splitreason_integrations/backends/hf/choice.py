"""The choice of one token: sampling, forbidden tokens, and a watch that judges it."""

from collections.abc import Callable

import torch

from splitreason_integrations.backends.base import Verdict, Watch, WriteOrder
from splitreason_integrations.sampling import draw, uniform


class Choice:
    """One place of a sequence, at which a token is chosen.

    Args:
        order: how to write.
        own: the model's logits (vocabulary).
        logits: the same after penalties, with what the order's guide does not allow at minus
            infinity.
        index: the place in the reply.
        mask: makes the index of forbidden tokens.

    """

    def __init__(
        self,
        order: WriteOrder,
        own: torch.Tensor,
        logits: torch.Tensor,
        *,
        index: int,
        mask: Callable[[tuple[int, ...]], torch.Tensor],
    ) -> None:
        self._order = order
        self._own = own
        self._logits = logits
        self._index = index
        self._mask = mask

    def token(self) -> int | None:
        """Return the token, or None where the watch stops the writing."""
        order = self._order
        if order.sampling.greedy:
            u, token = 0.0, draw(self._logits, order.sampling, 0.0)
            if token in order.forbidden:
                token = draw(self._allowed(), order.sampling, u)
        else:
            u = uniform(order.seed, order.stream, self._index)
            token = draw(self._allowed(), order.sampling, u)
        return token if order.watch is None else self._judged(order.watch, token, u)

    def _judged(self, watch: Watch, token: int, u: float) -> int | None:
        """Show a chosen token to the watch; return it, another one, or None to stop before it."""
        probability, entropy, chances = 0.0, 0.0, None
        if watch.probability_of is not None:
            probability = float(self._own.float().softmax(-1)[watch.probability_of])
        if watch.wants_entropy or watch.wants_confidence:
            chances = self._allowed().float().softmax(-1)
        if chances is not None and watch.wants_entropy:
            entropy = float(torch.special.entr(chances).sum())
        refused: tuple[int, ...] = ()
        while True:
            confidence = 1.0
            if chances is not None and watch.wants_confidence:
                confidence = float(chances[token])
            verdict = watch(
                token,
                index=self._index,
                probability=probability,
                entropy=entropy,
                confidence=confidence,
            )
            if verdict is Verdict.KEEP:
                return token
            if verdict is Verdict.STOP:
                return None
            refused = (*refused, token)
            token = draw(self._allowed(*refused), self._order.sampling, u)

    def _allowed(self, *refused: int) -> torch.Tensor:
        """Return logits with tokens that may not be chosen at minus infinity."""
        allowed = self._logits
        if self._order.forbidden:
            allowed = allowed.index_fill(0, self._mask(self._order.forbidden), float("-inf"))
        if refused:
            index = torch.tensor(refused, device=allowed.device)
            allowed = allowed.index_fill(0, index, float("-inf"))
        return allowed

"""A causal language model of transformers, and what its sessions share."""

import weakref
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from splitreason_integrations.backends.hf.cache import KVCache
from splitreason_integrations.backends.hf.session import HFSession
from splitreason_integrations.backends.hf.steps import Steps
from splitreason_integrations.backends.worker import Worker
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling


class HFModel:
    """A causal language model of transformers that keeps sessions.

    With `steps`, passes over few tokens are replayed as CUDA graphs.
    """

    remote = False
    resumes = True
    shows_logits = True

    def __init__(
        self,
        network: PreTrainedModel,
        codec: Codec,
        *,
        name: str,
        prices: Prices | None = None,
        hint: str | None = None,
        default_sampling: Sampling | None = None,
        steps: Steps | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self.prices = prices or Prices()
        self.hint = hint
        self.default_sampling = default_sampling or Sampling(temperature=0.0)
        self.context_tokens = int(network.config.max_position_embeddings)
        self.network = network.eval()
        self.steps = steps
        self._sessions: weakref.WeakSet[HFSession] = weakref.WeakSet()
        self.worker = Worker(f"splitreason-{name}")
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}

    @property
    def open_sessions(self) -> int:
        """How many sessions hold a cache now."""
        return sum(session.holds_cache for session in self._sessions)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> HFSession:
        """Start a session with a prompt, and what stands behind it; nothing is computed yet."""
        session = HFSession(self, prompt, written)
        self._sessions.add(session)
        return session

    def new_cache(self) -> KVCache:
        """Return an empty cache of one sequence."""
        return KVCache(self.network, self.steps)

    def forward(self, token_ids: Sequence[int], cache: KVCache, *, last: bool) -> torch.Tensor:
        """Return logits (tokens, vocabulary) of a cache's next tokens, or the last row if `last`.

        All that this model computes goes through here; see `KVCache.read`.
        """
        return cache.read(token_ids, last=last)

    def mask(self, forbidden: tuple[int, ...]) -> torch.Tensor:
        """Return the index of forbidden tokens, made once."""
        if forbidden not in self._masks:
            self._masks[forbidden] = torch.tensor(forbidden, device=self.network.device)
        return self._masks[forbidden]

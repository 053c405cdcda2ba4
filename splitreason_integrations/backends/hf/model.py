"""A causal language model of transformers, and what its sessions share."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.hf.cache import KVCache
from splitreason_integrations.backends.hf.session import HFSession
from splitreason_integrations.backends.hf.steps import Steps
from splitreason_integrations.backends.loaded import LoadedModel
from splitreason_integrations.backends.worker import Worker
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ForkedProcessError, SessionError
from splitreason_integrations.processes.children import after_fork
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling


class HFModel(LoadedModel[HFSession]):
    """A causal language model of transformers that keeps sessions.

    With `steps`, passes over few tokens are replayed as CUDA graphs. `KVCache` says what
    `one_by_one` does.
    """

    resumes = True
    gives = Gives.ALL

    def __init__(
        self,
        network: PreTrainedModel,
        codec: Codec,
        *,
        name: str,
        prices: Prices | None = None,
        hint: str | None = None,
        taught: bool | None = None,
        default_sampling: Sampling | None = None,
        context_tokens: int | None = None,
        steps: Steps | None = None,
        one_by_one: bool = False,
    ) -> None:
        super().__init__(
            codec,
            name=name,
            context_tokens=context_tokens or int(network.config.max_position_embeddings),
            prices=prices,
            hint=hint,
            taught=taught,
            default_sampling=default_sampling,
        )
        self.network = network.eval()
        self.steps = steps
        self.one_by_one = one_by_one
        self.worker = Worker(f"splitreason-{name}")
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}
        self._device = network.device
        self._is_forked = False
        after_fork(self._note_fork)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> HFSession:
        """Start a session with a prompt and what is `written` behind it, without computing.

        Raises:
            SessionError: the model was released; or something written is no token of it, which
                would end it on a GPU.

        """
        self._check_not_closed()
        known = self.network.get_input_embeddings().num_embeddings
        if written and not 0 <= min(written) <= max(written) < known:
            raise SessionError(f"{self.name} has {known} token ids; these are not its own")
        return self._counted(HFSession(self, prompt, written))

    def check_process(self) -> None:
        """Raise ForkedProcessError if the model is on a GPU and this process was forked since.

        CUDA cannot be used in a forked process.
        """
        if self._is_forked and self._device.type != "cpu":
            raise ForkedProcessError(
                f"{self.name} is on {self._device}, which a forked process cannot use: start "
                "processes with multiprocessing's 'spawn', or fork before any model is loaded "
                "(gunicorn: without --preload)"
            )

    def _note_fork(self) -> None:
        self._is_forked = True

    def new_cache(self) -> KVCache:
        """Return an empty cache of one sequence."""
        self._check_not_closed()
        return KVCache(self.network, self.steps, one_by_one=self.one_by_one)

    def forward(self, token_ids: Sequence[int], cache: KVCache, *, last: int) -> torch.Tensor:
        """Return logits (tokens, vocabulary) of a cache's next tokens: the `last` rows, 0 for all.

        All that this model computes goes through here; see `KVCache.read`.
        """
        return cache.read(token_ids, last=last)

    def close(self) -> None:
        """Free the weights, and the GPU's memory that torch keeps for more of them."""
        super().close()
        on_gpu = self.network.device.type == "cuda"
        del self.network
        self.steps = None
        self._masks.clear()
        if on_gpu:
            torch.cuda.empty_cache()

    def mask(self, forbidden: tuple[int, ...]) -> torch.Tensor:
        """Return the index of forbidden tokens, made once."""
        if forbidden not in self._masks:
            self._masks[forbidden] = torch.tensor(forbidden, device=self.network.device)
        return self._masks[forbidden]

"""What a session keeps of its tokens: their keys and values, and how more of them are read."""

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from splitreason_integrations.backends.hf.steps import Steps


class KVCache:
    """The keys and values of one sequence.

    `length` says how many of its tokens count: lowered, the others are forgotten when more is read.
    `rows` are kept for it alone. While the sequence is the one that `steps` hold, the last rows may
    be there only, until somebody needs them here.
    """

    def __init__(self, network: PreTrainedModel, steps: Steps | None = None) -> None:
        self.rows = DynamicCache(config=network.config)
        self.length = 0
        self._network = network
        self._steps = steps

    def read(self, token_ids: Sequence[int], *, last: int) -> torch.Tensor:
        """Return logits (tokens, vocabulary) of the next tokens: the `last` rows at least, 0 all.

        Their rows stay if `length` is then raised by as many; else they are forgotten. Only the
        model's thread may read, for `steps` are shared. Raises torch.OutOfMemoryError.
        """
        self._forget_what_was_cut()
        logits = self._steps.read(token_ids, self) if self._steps is not None else None
        return self._read_at_once(token_ids, last=last) if logits is None else logits

    def _forget_what_was_cut(self) -> None:
        if self._steps is not None:
            self._steps.crop(self)
        # Layer by layer: a pass that failed may have left more in some than in others.
        for layer in self.rows.layers:
            surplus = layer.get_seq_length() - self.length
            if surplus > 0:
                layer.crop(-surplus)

    def _read_at_once(self, token_ids: Sequence[int], *, last: int) -> torch.Tensor:
        if self._steps is not None:
            self._steps.settle(self)
        with torch.inference_mode():
            output = self._network(
                input_ids=torch.tensor([token_ids], device=self._network.device),
                past_key_values=self.rows,
                use_cache=True,
                logits_to_keep=last,
            )
        return output.logits[0]  # type: ignore[no-any-return]

"""What a session keeps of its tokens: their keys and values, and how more of them are read.

A cut is made when more is read. Layers with a sliding window keep some rows behind the window, so
that they can be cut; layers that cannot (a recurrent state, or a cut far back) are read anew.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

from splitreason_integrations.backends.hf.steps import Steps
from splitreason_integrations.errors import SessionError

CUT_TOKENS = 1024
"""How far back a full sliding window can be cut without reading the sequence anew."""

_TRIED = (3, 1, 4, 1, 5, 9, 2, 6)
_CLOSE = 0.02
"""By how much, relative to the whole, logits may differ by rounding."""


class KVCache:
    """The keys and values of one sequence.

    `length` says how many of its tokens count: lowered, the others are forgotten when more is read.
    `rows` are kept for it alone. While the sequence is the one that `steps` hold, the last rows may
    be there only, until somebody needs them here. `one_by_one` is for networks whose passes over
    several tokens would begin with an empty recurrent state.
    """

    def __init__(
        self, network: PreTrainedModel, steps: Steps | None = None, *, one_by_one: bool = False
    ) -> None:
        self._network = network
        self._steps = steps
        self._one_by_one = one_by_one
        self._begin()

    def _begin(self) -> None:
        self.rows = DynamicCache(config=self._network.config)
        self.length = 0
        # The tokens in every layer; None after a pass that failed within.
        self._held: int | None = 0
        for layer in self.rows.layers:
            if type(layer) is DynamicSlidingWindowLayer:
                layer.activate_past_recording()

    def cut(self) -> None:
        """Forget the rows behind `length`; set it to 0 where a layer cannot be cut to it.

        The tokens before it must then be read again.
        """
        if self._steps is not None:
            self._steps.crop(self)
        # Layer by layer: a pass that failed may have left more in some than in others.
        cut = [_cut(layer, self.length) for layer in self.rows.layers]
        if not all(cut) and self._held != self.length:
            self._begin()

    def read(self, token_ids: Sequence[int], *, last: int) -> torch.Tensor:
        """Return logits (tokens, vocabulary) of the next tokens: the `last` rows at least, 0 all.

        Their rows stay if `length` is then raised by as many; else they are forgotten. Only the
        model's thread may read, for `steps` are shared.

        Raises:
            torch.OutOfMemoryError: if the pass does not fit.
            SessionError: if `cut` would set `length` to 0.

        """
        before = self.length
        self.cut()
        if self.length != before:
            raise SessionError("the cache cannot be cut so far back: read the tokens before it too")
        logits = self._steps.read(token_ids, self) if self._steps is not None else None
        return self._read_at_once(token_ids, last=last) if logits is None else logits

    def _read_at_once(self, token_ids: Sequence[int], *, last: int) -> torch.Tensor:
        if self._steps is not None:
            self._steps.settle(self)
        self._held = None
        single = self._one_by_one and self.length > 0
        passes = [[token] for token in token_ids] if single else [token_ids]
        with torch.inference_mode():
            logits = [self._pass(ids, last=last) for ids in passes]
            for layer in self.rows.layers:
                _trim(layer)
        self._held = self.length + len(token_ids)
        return torch.cat(logits)[-last:]

    def _pass(self, token_ids: Sequence[int], *, last: int) -> torch.Tensor:
        output = self._network(
            input_ids=torch.tensor([token_ids], device=self._network.device),
            past_key_values=self.rows,
            use_cache=True,
            logits_to_keep=last,
        )
        return output.logits[0]  # type: ignore[no-any-return]


def reads_one_by_one(network: PreTrainedModel) -> bool:
    """Return whether a network must read what follows a recurrent state token by token.

    Some begin every pass over several tokens with an empty state. It is tried on a few tokens.

    Raises:
        ValueError: if the network does not keep its state in a `DynamicCache`.

    """
    cache = KVCache(network)
    expected = cache.read(_TRIED, last=1)
    layers = cache.rows.layers
    rows = [layer.get_seq_length() for layer in layers if isinstance(layer, DynamicLayer)]
    if rows and not any(rows):
        raise ValueError("its network keeps no keys and values in transformers' cache")
    if not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers):
        return False
    for one_by_one in (False, True):
        if (_in_two_parts(network, one_by_one) - expected).norm() <= _CLOSE * expected.norm():
            return one_by_one
    raise ValueError("its network reads on from a recurrent state in a way that is not known here")


def _in_two_parts(network: PreTrainedModel, one_by_one: bool) -> torch.Tensor:
    cache = KVCache(network, one_by_one=one_by_one)
    cache.read(_TRIED[:-3], last=1)
    cache.length = len(_TRIED) - 3
    return cache.read(_TRIED[-3:], last=1)


def _cut(layer: Any, length: int) -> bool:
    """Cut a layer to `length` tokens; return False where its states cannot be cut."""
    if isinstance(layer, LinearAttentionCacheLayerMixin) or not layer.is_croppable:
        return False
    surplus = layer.get_seq_length() - length if isinstance(layer, DynamicLayer) else 0
    if surplus <= 0:
        return True
    if type(layer) is not DynamicSlidingWindowLayer:
        layer.crop(-surplus)
        return True
    kept = layer.keys.shape[-2] - surplus
    if kept < min(length, layer.sliding_window - 1):
        return False
    # Its own crop would keep the window alone, and the next cut would find no rows behind it.
    layer.keys, layer.values = layer.keys[..., :kept, :], layer.values[..., :kept, :]
    layer.cumulative_length = length
    return True


def _trim(layer: Any) -> None:
    """Forget the rows of a sliding window that no cut needs, now and then."""
    if type(layer) is not DynamicSlidingWindowLayer or not layer.is_initialized:
        return
    kept = layer.sliding_window - 1 + CUT_TOKENS
    if layer.keys.shape[-2] >= kept + CUT_TOKENS:
        layer.keys, layer.values = layer.keys[..., -kept:, :], layer.values[..., -kept:, :]

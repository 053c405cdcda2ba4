"""Attention to keys and values at fixed addresses, of which the first ones count."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import CacheLayerMixin

ATTENTION = "splitreason_steps"
PARTS = 16
"""Into how many parts the rows are split, which divides any capacity."""

_UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")


class Place:
    """Where a pass stands: its tokens and their positions, at addresses that stay.

    `used` is how many of `capacity` rows count with those of the pass; `parts`, how many of each
    part of the rows were there before it. `borders` has where so many sequences of a length begin
    and end. All of it is made here, since nothing may be made while a pass is recorded.
    """

    def __init__(self, sizes: Sequence[int], capacity: int, device: torch.device) -> None:
        most = max(sizes)
        self.capacity = capacity
        self.tokens = torch.zeros((1, most), dtype=torch.long, device=device)
        self.positions = torch.zeros((1, most), dtype=torch.long, device=device)
        self.used = torch.zeros(1, dtype=torch.int32, device=device)
        self.parts = torch.zeros(PARTS, dtype=torch.int32, device=device)
        self.borders = {
            (length, sequences): length
            * torch.arange(sequences + 1, dtype=torch.int32, device=device)
            for sequences in (1, PARTS)
            for length in (*sizes, capacity // sequences)
        }
        self._offsets = torch.arange(most, device=device)
        self._part_rows = capacity // PARTS
        self._begins = torch.arange(PARTS, device=device) * self._part_rows

    def set(self, token_ids: Sequence[int], start: int, size: int) -> None:
        """Stand behind `start` tokens with some more, filled up to `size`."""
        filled = [*token_ids, *[0] * (size - len(token_ids))]
        self.tokens[0, :size].copy_(torch.tensor(filled))
        torch.add(self._offsets, start, out=self.positions[0])
        self.used.fill_(start + size)
        self.parts.copy_((start - self._begins).clamp(0, self._part_rows))

    def seen(self, size: int) -> torch.Tensor:
        """Return which of the rows each of the pass's tokens sees, (size, capacity)."""
        rows = torch.arange(self.capacity, device=self.used.device)
        return rows <= self.positions[0, :size, None]


class FixedRows(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, (capacity, heads, width) each, at addresses that stay."""

    is_sliding = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for states of shape (1, heads, tokens, width)."""

        def room(states: torch.Tensor) -> torch.Tensor:
            return states.new_zeros((self._place.capacity, states.shape[1], states.shape[3]))

        self.keys, self.values = room(key_states), room(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write states at the pass's positions; return all rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        positions = self._place.positions[0, : key_states.shape[2]]
        self.keys.index_copy_(0, positions, key_states[0].transpose(0, 1))
        self.values.index_copy_(0, positions, value_states[0].transpose(0, 1))
        return self.keys, self.values

    def load(self, keys: torch.Tensor, values: torch.Tensor, *, since: int, until: int) -> None:
        """Copy some of another layer's rows, (1, heads, rows, width)."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        for here, there in ((self.keys, keys), (self.values, values)):
            here[since:until].copy_(there[0, :, since:until].transpose(0, 1))

    def part(self, since: int, until: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return some rows as (1, heads, rows, width)."""
        return tuple(  # type: ignore[return-value]
            rows[since:until].transpose(0, 1)[None] for rows in (self.keys, self.values)
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many rows there are, and that none is skipped."""
        return self._place.capacity, 0

    def get_seq_length(self) -> int:
        """Return 0: positions are always given."""
        return 0

    def get_max_length(self) -> int:
        """Return how many rows there are."""
        return self._place.capacity


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    place: Place,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from (1, heads, tokens, width) to rows up to each token's own position.

    Raises ValueError for attention of other kinds.
    """
    if unknown := [name for name in _UNKNOWN if more.get(name) is not None]:
        raise ValueError(f"attention with {', '.join(unknown)} cannot be at fixed addresses")
    size = query.shape[2]
    if not query.is_cuda:
        found = torch.nn.functional.scaled_dot_product_attention(
            query,
            key.transpose(0, 1)[None],
            value.transpose(0, 1)[None],
            attn_mask=place.seen(size),
            scale=scaling,
            enable_gqa=True,
        )
        return found.transpose(1, 2), None
    queries = query[0].transpose(0, 1)
    if size == 1:
        found, _ = _flash(place, queries, key, value, (1, 1), place.used, scaling)
    else:
        found = _in_parts(queries, key, value, place, scaling)
    return found[None], None


def _in_parts(
    queries: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    place: Place,
    scaling: float | None,
) -> torch.Tensor:
    """Attend from several tokens, (tokens, heads, width), to parts of the rows side by side.

    The kernel splits the rows by itself for one token only; for several, a head's rows would be
    read by one of the GPU's many processors.
    """
    size, heads, width = queries.shape
    many = queries.repeat(PARTS, 1, 1)
    before, before_weights = _flash(place, many, key, value, (size, PARTS), place.parts, scaling)
    own = place.positions[0, :size]
    here, here_weights = _flash(
        place, queries, key[own], value[own], (size, 1), None, scaling, is_causal=True
    )
    return join(
        torch.cat([before.view(PARTS, size, heads, width), here[None]]),
        torch.cat([before_weights.view(heads, PARTS, size), here_weights[:, None]], 1),
    )


def join(found: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Join attention to parts of the rows, (parts, tokens, heads, width), to that to all.

    `weights` (heads, parts, tokens) are each part's logarithm of summed exponentials. It is
    infinity, and must not count, where a part is empty.
    """
    shares = weights.masked_fill(weights == torch.inf, -torch.inf).softmax(1)
    return torch.einsum("hpt,pthw->thw", shares, found.float()).to(found.dtype)


def _flash(
    place: Place,
    queries: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    shape: tuple[int, int],
    used: torch.Tensor | None,
    scaling: float | None,
    *,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend from equal sequences to as many of rows, of each of which the first `used` count.

    `shape` is (tokens of a sequence, sequences). It is the only kernel that takes from the device
    how many rows count. Return what was found and its weights, (heads, all tokens).
    """
    size, sequences = shape
    rows = key.shape[0] // sequences
    found, weights, *_ = torch.ops.aten._flash_attention_forward(
        queries,
        key,
        value,
        place.borders[size, sequences],
        place.borders[rows, sequences],
        size,
        rows,
        0.0,
        is_causal,
        False,
        scale=scaling,
        seqused_k=used,
    )
    return found, weights


AttentionInterface.register(ATTENTION, attend)

"""Attention to keys and values at fixed addresses, of which the first ones count."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import CacheLayerMixin

ATTENTION = "splitreason_steps"
_UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")


class Place:
    """Where a pass stands: its tokens and their positions, at addresses that stay."""

    def __init__(self, most: int, device: torch.device) -> None:
        self.tokens = torch.zeros((1, most), dtype=torch.long, device=device)
        self.positions = torch.zeros((1, most), dtype=torch.long, device=device)
        self.used = torch.zeros(1, dtype=torch.int32, device=device)
        self._offsets = torch.arange(most, device=device)
        self._borders: dict[int, torch.Tensor] = {}

    def set(self, token_ids: Sequence[int], start: int, size: int) -> None:
        """Stand behind `start` tokens with some more, filled up to `size`."""
        filled = [*token_ids, *[0] * (size - len(token_ids))]
        self.tokens[0, :size].copy_(torch.tensor(filled))
        torch.add(self._offsets, start, out=self.positions[0])
        self.used.fill_(start + size)

    def borders(self, tokens: int) -> torch.Tensor:
        """Return where one sequence of so many tokens begins and ends, made once."""
        if tokens not in self._borders:
            self._borders[tokens] = torch.tensor(
                (0, tokens), dtype=torch.int32, device=self.used.device
            )
        return self._borders[tokens]


class FixedRows(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, (capacity, heads, width) each, at addresses that stay."""

    is_sliding = False

    def __init__(self, capacity: int, place: Place) -> None:
        super().__init__()
        self._capacity = capacity
        self._place = place

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for states of shape (1, heads, tokens, width)."""

        def room(states: torch.Tensor) -> torch.Tensor:
            return states.new_zeros((self._capacity, states.shape[1], states.shape[3]))

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

    def load(self, keys: torch.Tensor, values: torch.Tensor, *, since: int) -> None:
        """Copy another layer's rows, (1, heads, rows, width), from `since` on."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        for here, there in ((self.keys, keys), (self.values, values)):
            here[since : there.shape[2]].copy_(there[0, :, since:].transpose(0, 1))

    def part(self, since: int, until: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return some rows as (1, heads, rows, width)."""
        return tuple(  # type: ignore[return-value]
            rows[since:until].transpose(0, 1)[None] for rows in (self.keys, self.values)
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many rows there are, and that none is skipped."""
        return self._capacity, 0

    def get_seq_length(self) -> int:
        """Return 0: positions are always given."""
        return 0

    def get_max_length(self) -> int:
        """Return how many rows there are."""
        return self._capacity


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

    Raises NotImplementedError for attention of other kinds.
    """
    if unknown := [name for name in _UNKNOWN if more.get(name) is not None]:
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    size = query.shape[2]
    if query.is_cuda:
        # Flash attention is the only kernel that reads how many rows count from the device; the
        # last of them belongs to the last token, as it is with `size` of `used`.
        borders = place.borders(size), place.borders(key.shape[0])
        found = torch.ops.aten._flash_attention_forward(
            query[0].transpose(0, 1),
            key,
            value,
            *borders,
            size,
            key.shape[0],
            0.0,
            size > 1,
            False,
            scale=scaling,
            seqused_k=place.used,
        )[0]
        return found[None], None
    seen = torch.arange(key.shape[0], device=key.device) <= place.positions[0, :size, None]
    found = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.transpose(0, 1)[None],
        value.transpose(0, 1)[None],
        attn_mask=seen,
        scale=scaling,
        enable_gqa=True,
    )
    return found.transpose(1, 2), None


AttentionInterface.register(ATTENTION, attend)

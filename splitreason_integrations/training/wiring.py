"""Initial weights with the two attention heads that copying needs.

With random weights, models of this size need most of their training to discover how to find an
earlier token and repeat the token after it. Here layer 0 starts with heads that attend a fixed
number of tokens back, and layer 1 with a head that finds an earlier occurrence of the current token
and copies what followed. Training may change all of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LOOK_BACK_HEADS = 3
FAST, SLOW = 0.05, 0.004
"""RoPE frequencies in radians per token: fast channels encode position, slow ones content."""
SHARPNESS = 50.0
MATCH, NOTE, COPY = 2.0, 0.02, 0.05


def wire_for_copying(model: Any, *, seed: int) -> None:
    """Overwrite some initial weights of a Qwen2 model so that it finds and repeats earlier text.

    Args:
        model: A freshly initialised model with at least two layers, and one key head for each of
            the `LOOK_BACK_HEADS` heads.
        seed: Seed of the projections.

    """
    import torch

    size = model.config.hidden_size // model.config.num_attention_heads
    kept = model.config.hidden_size - size
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    generator = torch.Generator().manual_seed(seed)
    content, output = (
        torch.linalg.qr(torch.randn(kept, size, generator=generator)).Q.T for _ in range(2)
    )
    with torch.no_grad():
        model.model.embed_tokens.weight[:, kept:] = 0.0
        _look_back(first, model.model.rotary_emb.inv_freq.float(), size)
        _note_previous(first, content, kept)
        _find_and_repeat(second, content, output, model.model.rotary_emb.inv_freq.float())


def _look_back(attention: Any, rotations: Tensor, size: int) -> None:
    """Make head h attend h + 1 tokens back, through biases only."""
    import torch

    fast = int((rotations > FAST).sum())
    for head in range(min(LOOK_BACK_HEADS, attention.q_proj.bias.numel() // size)):
        query, key = torch.zeros(size), torch.zeros(size)
        turned = rotations[:fast] * (head + 1)
        query[:fast] = math.sqrt(SHARPNESS)
        key[:fast] = math.sqrt(SHARPNESS) * torch.cos(turned)
        key[size // 2 : size // 2 + fast] = math.sqrt(SHARPNESS) * torch.sin(turned)
        attention.q_proj.bias[head * size : (head + 1) * size] = query
        attention.k_proj.bias[head * size : (head + 1) * size] = key


def _note_previous(attention: Any, content: Tensor, kept: int) -> None:
    """Make head 0 write the previous token's content to channels that embeddings leave free."""
    import torch

    size = len(content)
    attention.v_proj.weight[:size] = 0.0
    attention.v_proj.weight[:size, :kept] = content
    attention.o_proj.weight[:, :size] = 0.0
    attention.o_proj.weight[kept:, :size] = torch.eye(size) * NOTE * math.sqrt(1 + size / kept)


def _find_and_repeat(attention: Any, content: Tensor, output: Tensor, rotations: Tensor) -> None:
    """Make head 0 compare the current token with those notes, and copy the matching token."""
    import torch

    size, kept = content.shape
    slow = [i for i in range(size // 2) if rotations[i] < SLOW]
    channels = slow + [i + size // 2 for i in slow]
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[:size] = 0.0
    attention.q_proj.weight[channels, :kept] = MATCH * content[: len(channels)]
    attention.k_proj.weight[channels, kept:] = MATCH * torch.eye(size)[: len(channels)]
    attention.v_proj.weight[:size, :kept] = output
    attention.o_proj.weight[:, :size] = 0.0
    attention.o_proj.weight[:kept, :size] = output.T * COPY

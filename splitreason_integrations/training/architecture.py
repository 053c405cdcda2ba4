"""The two model shapes: Qwen2 layers with tied embeddings and attention heads of size 32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from splitreason_integrations.training.vocabulary import CONTEXT_TOKENS, END, PAD
from splitreason_integrations.training.wiring import wire_for_copying

Role = Literal["small", "large"]
HEAD_SIZE = 32
ROPE_THETA = 1e6
"""High for such short contexts: half of the channels hardly rotate, so they compare content."""


@dataclass(frozen=True)
class Shape:
    """Sizes of one model.

    Attributes:
        hidden: Hidden size.
        layers: Number of layers.
        feed_forward: Size of the feed-forward layer.

    """

    hidden: int
    layers: int
    feed_forward: int


SHAPES: dict[Role, Shape] = {"small": Shape(96, 2, 256), "large": Shape(128, 3, 352)}


def build_model(role: Role, tokenizer: Any, *, seed: int, shape: Shape | None = None) -> Any:
    """Return a freshly initialised model for the tokenizer, with attention heads wired to copy."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = shape or SHAPES[role]
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // HEAD_SIZE,
        num_key_value_heads=shape.hidden // HEAD_SIZE,
        max_position_embeddings=CONTEXT_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        initializer_range=0.02,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    wire_for_copying(model, seed=seed)
    model.generation_config.do_sample = False
    model.generation_config.eos_token_id = config.eos_token_id
    model.generation_config.pad_token_id = config.pad_token_id
    return model

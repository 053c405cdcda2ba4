"""Networks with random weights in the shapes of real models, for measuring speed only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes of a Qwen2 network (arXiv 2407.10671, and the published configurations).

    Attributes:
        hidden: Hidden size.
        layers: Number of layers.
        heads: Attention heads.
        key_value_heads: Key and value heads.
        feed_forward: Size of the feed-forward layer.
        vocabulary: Vocabulary size.
        tied: Whether input and output embeddings share weights.

    """

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    tied: bool


SHAPES: Mapping[str, NetworkShape] = {
    "tiny": NetworkShape(64, 2, 4, 2, 128, 512, True),
    "0.5B": NetworkShape(896, 24, 14, 2, 4864, 151_936, True),
    "1.5B": NetworkShape(1536, 28, 12, 2, 8960, 151_936, True),
    "7B": NetworkShape(3584, 28, 28, 4, 18_944, 152_064, False),
    "32B": NetworkShape(5120, 64, 40, 8, 27_648, 152_064, False),
}


def random_network(name: str, *, context_tokens: int, device: str, seed: int) -> Any:
    """Return a network with random weights, in bfloat16 on CUDA, else in float32.

    Raises:
        ConfigurationError: The shape is unknown, or does not fit on the device.

    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    if name not in SHAPES:
        raise ConfigurationError(f"unknown shape {name!r}: use one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=shape.tied,
        dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
    )
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(config.dtype)
        with torch.device(device):
            return Qwen2ForCausalLM(config)
    except torch.OutOfMemoryError as error:
        raise ConfigurationError(
            f"a network of the shape {name} does not fit on {device}: use a smaller one"
        ) from error
    finally:
        torch.set_default_dtype(before)

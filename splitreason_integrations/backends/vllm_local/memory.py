"""How much memory a model takes, from its files alone, and whether a GPU has that left.

Each model takes what its weights, its KV cache and its work need, and no more, so that what the
next one finds is known before it is loaded. All sizes are in bytes, of one GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

from splitreason_integrations.backends.model_folder import tensors_in
from splitreason_integrations.errors import ModelLoadError

GIB = 1 << 30
_WORK = 2 * GIB
"""Activations of a full batch, captured graphs and the CUDA context."""
_WORK_OF_WEIGHTS = 0.05
_USABLE = 0.96
"""What of a GPU may be given away; drivers and other processes have the rest."""
_SPARE_TOKENS = 512
"""A cache comes in whole blocks, some of which vLLM keeps for itself."""
_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I16": 2}
_FLOATS = ("F64", "F32", "BF16", "F16")
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Size:
    """What a model takes of each GPU.

    Attributes:
        weights: bytes of weights.
        kv_of_a_token: bytes of keys and values of one token.

    """

    weights: int
    kv_of_a_token: int

    def cache(self, tokens: int) -> int:
        """Return the bytes of a KV cache for so many tokens."""
        return (tokens + _SPARE_TOKENS) * self.kv_of_a_token

    def whole(self, tokens: int) -> int:
        """Return the bytes of weights, work and a KV cache for so many tokens."""
        return self.weights + ceil(self.weights * _WORK_OF_WEIGHTS) + _WORK + self.cache(tokens)


def size_of(
    folder: Path, config: Mapping[str, Any], *, dtype_bytes: int, tensor_parallel: int = 1
) -> Size:
    """Return the size of the model in a folder, run with numbers of so many bytes.

    `config` is that of its text. Raises ModelLoadError where the files do not tell.
    """
    weights = sum(_bytes_in(file, dtype_bytes) for file in sorted(folder.glob("*.safetensors")))
    if not weights:
        raise ModelLoadError(
            f"{folder}: has no .safetensors files, so its size is not known: save it as "
            "safetensors, or set gpu_share of VLLMModel"
        )
    kv = kv_of_a_token(config, dtype_bytes=dtype_bytes, tensor_parallel=tensor_parallel)
    return Size(ceil(weights / tensor_parallel), kv)


def kv_of_a_token(config: Mapping[str, Any], *, dtype_bytes: int, tensor_parallel: int = 1) -> int:
    """Return the bytes of keys and values of one token in all layers, on one GPU."""
    try:
        layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
        if config.get("kv_lora_rank"):
            numbers = config["kv_lora_rank"] + config.get("qk_rope_head_dim", 0)
            return int(layers * numbers * dtype_bytes)
        wide = config.get("head_dim") or config["hidden_size"] // heads
        shared = ceil((config.get("num_key_value_heads") or heads) / tensor_parallel)
    except KeyError as error:
        raise ModelLoadError(
            f"config.json does not say {error}, so the size of a KV cache is not known: set "
            "gpu_share of VLLMModel"
        ) from error
    return int(2 * layers * shared * wide * dtype_bytes)


def share(
    size: Size, *, tokens: int, gpu: int, taken: float, label: str, context_tokens: int
) -> float:
    """Return what part of a GPU a model takes, beside what is `taken` of it.

    Raises ModelLoadError where that is more than is left, with what would fit.
    """
    wanted, left = size.whole(tokens), int(gpu * max(0.0, _USABLE - taken))
    if wanted <= left:
        return min(1.0, wanted / gpu)
    fits = (left - size.whole(0)) // size.kv_of_a_token
    remedy = (
        f"set context_tokens and cache_tokens to at most {fits}"
        if fits >= min(context_tokens, tokens, 1024)
        else "use a smaller or quantised model, more GPUs (tensor_parallel) or other ones (devices)"
    )
    raise ModelLoadError(
        f"{label} needs {wanted / GIB:.1f} GiB of a GPU ({size.weights / GIB:.1f} for weights, "
        f"{size.cache(tokens) / GIB:.1f} for {tokens} tokens of KV cache) and "
        f"{left / GIB:.1f} of its {gpu / GIB:.1f} are left: {remedy}"
    )


def _bytes_in(file: Path, dtype_bytes: int) -> int:
    """Return what a file's tensors take; floating ones are read as numbers of `dtype_bytes`."""
    return sum(
        prod(one["shape"]) * _bytes_of(one["dtype"], dtype_bytes)
        for one in tensors_in(file).values()
    )


def _bytes_of(dtype: str, dtype_bytes: int) -> int:
    return dtype_bytes if dtype in _FLOATS else _BYTES.get(dtype, 1)

"""Write a checkpoint of the bundled pair's kind as a GGUF file, for llama.cpp.

Weights stay float32. Rows of queries and keys change their order: llama.cpp rotates neighbouring
rows of a Llama head together, transformers those that lie half a head apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitreason_integrations.checks import check_extra
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.training.vocabulary import MARKERS, WORDS

if TYPE_CHECKING:
    from gguf import GGUFWriter

_ARCHITECTURE = "llama"
_SPLIT = "qwen2"
"""The split pattern of llama.cpp's that the file names. It cuts at other places than `WORDS`, but
no merge of the pair's vocabulary crosses a place where only one of them cuts."""
_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.o_proj.bias": "attn_output.bias",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_HEADS = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
"""How many heads the rows of a projection belong to, where they are rotated."""


def export_gguf(folder: Path, file: Path) -> None:
    """Write the checkpoint in a folder as a GGUF file.

    The tags are marked as ordinary words of the user's own, because llama.cpp shows no control
    token in an answer.

    Args:
        folder: a checkpoint that `export_model` wrote, such as `embedded.path("large")`.
        file: where the GGUF file is written.

    Raises:
        MissingExtraError: if `gguf` is not installed.
        ConfigurationError: if the checkpoint is of another kind.

    """
    check_extra("gguf", "gguf", what="a GGUF file")
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config, tokenizer = (
        json.loads((folder / name).read_text("utf-8")) for name in ("config.json", "tokenizer.json")
    )
    _check(folder, config, tokenizer)
    writer = GGUFWriter(file, _ARCHITECTURE)
    writer.add_name(folder.name)
    _add_sizes(writer, config)
    _add_tokens(writer, config, tokenizer)
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))
    for name, tensor in _renamed(config, load_file(folder / "model.safetensors")):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check(folder: Path, config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> None:
    splits = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers") or [{}]
    pattern = splits[0].get("pattern") or {}
    head_tokens = config.get("head_dim", 0) * config.get("num_attention_heads", 0)
    if (
        config.get("model_type") != "llama"
        or head_tokens != config.get("hidden_size")
        or pattern.get("Regex") != WORDS
    ):
        raise ConfigurationError(
            f"{folder} is no checkpoint of the bundled pair's kind: convert other models by "
            "convert_hf_to_gguf.py of llama.cpp"
        )


def _add_sizes(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokens(
    writer: GGUFWriter, config: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> None:
    from gguf import TokenType

    added = {one["id"]: one["content"] for one in tokenizer["added_tokens"]}
    words = {token: text for text, token in tokenizer["model"]["vocab"].items()} | added
    kinds = {
        token: TokenType.USER_DEFINED if text in MARKERS else TokenType.CONTROL
        for token, text in added.items()
    }
    every = range(config["vocab_size"])
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_SPLIT)
    writer.add_token_list([words.get(token, f"[unused {token}]") for token in every])
    writer.add_token_types(
        [
            kinds.get(token, TokenType.NORMAL if token in words else TokenType.UNUSED)
            for token in every
        ]
    )
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _renamed(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield tensors by llama.cpp's names and in its order of rows."""
    ends = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    for name, tensor in sorted(tensors.items()):
        inner = name.removeprefix("model.")
        if inner in ends:
            yield ends[inner], tensor
            continue
        _, block, part = inner.split(".", 2)
        heads = next((config[key] for row, key in _HEADS.items() if row in part), None)
        yield f"blk.{block}.{_NAMES[part]}", tensor if heads is None else _neighbours(tensor, heads)


def _neighbours(tensor: Any, heads: int) -> Any:
    """Return rows with those next to each other that lie half a head apart."""
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)

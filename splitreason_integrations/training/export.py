"""Write a trained model as an ordinary checkpoint folder with its tokenizer.

Checkpoints are written as Llama, because transformers applies the tokenizer rules of Qwen's own
models to every Qwen2 checkpoint, whatever the folder says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHARED_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def as_llama(model: Any) -> Any:
    """Return a Llama model that computes the same as a Qwen2 model.

    The only difference: a Llama layer with attention biases also has one on its output, which is
    set to zero here.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {name: getattr(model.config, name) for name in SHARED_SETTINGS}
    llama = LlamaForCausalLM(LlamaConfig(**settings, attention_bias=True))
    weights = {name: tensor.to("cpu", torch.float32) for name, tensor in model.state_dict().items()}
    for name, tensor in llama.state_dict().items():
        if name.endswith("o_proj.bias"):
            weights[name] = torch.zeros_like(tensor)
    llama.load_state_dict(weights)
    llama.generation_config = model.generation_config
    return llama.eval()


def export_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights in float32, configuration, generation configuration and tokenizer."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    _write(as_llama(model), tokenizer, folder)


def copy_model(trained: Path, folder: Path) -> None:
    """Write the model of a run's folder, without the run's other files."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(trained)
    _write(model, AutoTokenizer.from_pretrained(trained), folder)


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)

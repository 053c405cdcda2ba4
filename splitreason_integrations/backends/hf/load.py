"""Loads a model of transformers from its folder or from the hub's cache."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from splitreason_integrations import embedded
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.defaults import default_sampling, end_tokens
from splitreason_integrations.backends.hf.cache import reads_one_by_one
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.spec import TransformersModel, source_of
from splitreason_integrations.backends.hf.steps import steps_for
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.backends.model_folder import check_folder
from splitreason_integrations.backends.swapped import no_progress_bar
from splitreason_integrations.checks import check_extra
from splitreason_integrations.errors import ModelLoadError
from splitreason_integrations.text.thinking import TemplateSettings

_OWN_CODE = "contains custom code"
"""Part of transformers' message where a model brings Python code that nobody allowed to run."""


def load(spec: TransformersModel) -> HFModel:
    """Return the model that a spec names.

    Raises:
        ModelLoadError: if the files are missing or unreadable, the device does not exist here, the
            model does not fit on it, or its network keeps no cache that can be cut.
        MissingExtraError: if the model is a GGUF file and `gguf` is not installed.

    """
    loads_at_once = spec.path.startswith(str(embedded.path("small").parent))
    if not loads_at_once:
        return _load(spec)
    with no_progress_bar():
        return _load(spec)


def _check_device(name: str, device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ModelLoadError(
            f"{name}: there is no device {device!r}; use auto, cpu, cuda or cuda:1"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelLoadError(
            f"{name}: torch finds no GPU for device {device!r} here; use cpu, or install a CUDA "
            "build of torch"
        )


def _load(spec: TransformersModel) -> HFModel:
    name = spec.label
    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    _check_device(name, device)
    folder, gguf_file = source_of(spec.path)
    if gguf_file is not None:
        check_extra("gguf", "gguf", what=f"{name} is a GGUF file and")
    folder = files_of(folder, what=f"{name} cannot be loaded")
    files: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    if gguf_file is not None:
        files["gguf_file"] = gguf_file
    if Path(folder).is_dir():
        check_folder(Path(folder), label=name, trusted=spec.trust_remote_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **files)
        network = _network(folder, spec.dtype, files).to(device)
        context_tokens = _context_tokens(network, tokenizer)
        one_by_one = reads_one_by_one(network)
    except torch.OutOfMemoryError as error:
        raise ModelLoadError(
            f"{name} does not fit on {device}: use a smaller dtype or model, or another device"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise _unloadable(name, error, gguf=gguf_file is not None) from error
    settings = network.generation_config
    return HFModel(
        network,
        TokenizerCodec(
            tokenizer,
            name=name,
            end_tokens=end_tokens(settings),
            template=TemplateSettings(spec.thinking, spec.chat_template_kwargs),
        ),
        name=name,
        context_tokens=context_tokens,
        prices=spec.prices,
        hint=spec.hint,
        taught=spec.taught,
        default_sampling=default_sampling(settings, name=name),
        steps=steps_for(network) if spec.cuda_graphs else None,
        one_by_one=one_by_one,
    )


def _network(folder: str, dtype: str, files: dict[str, Any]) -> PreTrainedModel:
    """Return a language model; one that takes images as well is used for text alone.

    Weights that are pickles are read where the model may run its own code.
    """
    config = AutoConfig.from_pretrained(folder, **files)
    kinds = (AutoModelForCausalLM, AutoModelForImageTextToText)
    fits = [kind for kind in kinds if type(config) in kind._model_mapping]
    kind = fits[0] if fits else AutoModelForCausalLM
    safe = None if files["trust_remote_code"] or "gguf_file" in files else True
    return kind.from_pretrained(folder, dtype=dtype, use_safetensors=safe, **files)


def _context_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the longest sequence that a model's configuration states, else its tokenizer."""
    stated = getattr(network.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if not isinstance(stated, int):
        stated = tokenizer.model_max_length
    if stated >= VERY_LARGE_INTEGER:
        raise ValueError(
            "it states no length of its context; write max_position_embeddings into its config.json"
        )
    return int(stated)


def _unloadable(name: str, error: Exception, *, gguf: bool) -> ModelLoadError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    remedy = (
        "give a folder with config.json, model.safetensors and tokenizer files, or a name that is "
        "in the local hub cache"
    )
    if _OWN_CODE in reason:
        remedy = "set trust_remote_code=True in TransformersModel if you trust that code"
    if gguf:
        remedy = (
            "name the folder of the original model, or serve the file with llama.cpp and name the "
            "server: 'http://127.0.0.1:8080/v1#<model>'"
        )
    return ModelLoadError(f"{name} cannot be loaded: {reason}; {remedy}")

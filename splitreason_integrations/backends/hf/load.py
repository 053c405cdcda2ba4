"""Loads a model of transformers from its folder or from the hub's cache."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from splitreason_integrations import embedded
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.defaults import default_sampling, end_tokens
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.spec import TransformersModel
from splitreason_integrations.backends.hf.steps import steps_for
from splitreason_integrations.backends.swapped import no_progress_bar
from splitreason_integrations.errors import ModelLoadError


def load(spec: TransformersModel) -> HFModel:
    """Return the model that a spec names.

    Raises:
        ModelLoadError: if the files are missing or unreadable, the device does not exist here, or
            the model does not fit on it.

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
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            spec.path, trust_remote_code=spec.trust_remote_code
        )
        network = AutoModelForCausalLM.from_pretrained(
            spec.path, dtype=spec.dtype, trust_remote_code=spec.trust_remote_code
        ).to(device)
    except torch.OutOfMemoryError as error:
        raise ModelLoadError(
            f"{name} does not fit on {device}: use a smaller dtype or model, or another device"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelLoadError(
            f"{name} cannot be loaded: {reason}; give a folder with config.json, "
            "model.safetensors and tokenizer files, or a name that is in the local hub cache"
        ) from error
    settings = network.generation_config
    return HFModel(
        network,
        TokenizerCodec(tokenizer, name=name, end_tokens=end_tokens(settings)),
        name=name,
        prices=spec.prices,
        hint=spec.hint,
        taught=spec.taught,
        default_sampling=default_sampling(settings),
        steps=steps_for(network) if spec.cuda_graphs else None,
    )

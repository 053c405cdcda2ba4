"""Models by name: one copy of the weights per spec in a process, loaded on first use."""

import asyncio
import json
import re
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, cast

from splitreason_integrations import embedded
from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel
from splitreason_integrations.backends.vllm_local.spec import DType, VLLMModel
from splitreason_integrations.checks import check_extra
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ConfigurationError, ModelLoadError, UnknownSpecError

PROVIDER = "splitreason"
"""Who provides a pair, in the words of frameworks and traces."""

Role = Literal["small", "large"]
Device = str


@dataclass(frozen=True, slots=True)
class TransformersModel:
    """A model to be loaded by transformers: a folder or a name on the model hub.

    `device` is `auto` (CUDA where there is one, else CPU), `cpu`, `cuda` or `cuda:1`. `hint` is a
    sentence that this model alone sees at the end of the user's message. `cuda_graphs` replays
    short passes on a GPU as CUDA graphs, where the network allows it: steps several times as fast,
    for the memory of one more KV cache.
    """

    path: str
    device: Device = "auto"
    dtype: DType = "auto"
    prices: Prices = field(default_factory=Prices)
    hint: str | None = None
    name: str | None = None
    trust_remote_code: bool = False
    cuda_graphs: bool = True


Described: TypeAlias = TransformersModel | VLLMModel | OpenAIServerModel
ModelSpec: TypeAlias = str | Described | Model
_CREDENTIALS = re.compile(r"//[^/@\s]+@")

LargeSpec: TypeAlias = ModelSpec | Sequence[ModelSpec]
"""One large model, or several in the order in which they take over from each other."""


def line_up(spec: LargeSpec) -> tuple[ModelSpec, ...]:
    """Return the large models in their order; raise ConfigurationError where there is none."""
    several = tuple(spec) if isinstance(spec, list | tuple) else (cast("ModelSpec", spec),)
    if not several:
        raise ConfigurationError("large is an empty list: name at least one large model")
    return several


def describe(spec: LargeSpec) -> str:
    """Return the short name of a spec, without loading anything."""
    if isinstance(spec, list | tuple):
        return ",".join(describe(one) for one in spec)
    if isinstance(spec, str):
        return spec
    if isinstance(spec, TransformersModel):
        return spec.name or f"hf:{spec.path}"
    if isinstance(spec, VLLMModel | OpenAIServerModel):
        return spec.label
    return cast("Model", spec).name


def public_name(spec: object) -> str:
    """Return what logs and traces may call a spec: its short name without credentials."""
    if isinstance(spec, list | tuple):
        return ",".join(public_name(one) for one in spec)
    try:
        return _CREDENTIALS.sub("//", describe(cast("ModelSpec", spec)))
    except AttributeError:
        return type(spec).__name__


def pair_name(small: ModelSpec, large: LargeSpec) -> str:
    """Return the name under which a pair is reported."""
    return f"{PROVIDER}/{describe(small)}+{describe(large)}"


def resolve(spec: str | Described, *, role: Role) -> Described:
    """Return the full description of a named model; raise UnknownSpecError for other names."""
    if not isinstance(spec, str):
        return spec
    kind, _, rest = spec.partition(":")
    if kind == "hf" and rest:
        return TransformersModel(rest)
    if kind == "vllm" and rest:
        return VLLMModel(rest)
    if kind in ("http", "https"):
        return OpenAIServerModel.of(spec)
    member = role if spec == "embedded" else rest
    if kind == "embedded" and member in embedded.MEMBERS:
        return TransformersModel(
            str(embedded.path(member)), device="cpu", name=f"splitreason-embedded-{member}"
        )
    raise UnknownSpecError(
        f"unknown {role} model {spec!r}: use 'embedded', 'hf:<folder or name on the hub>', "
        "'vllm:<folder or name on the hub>', 'https://<host>/v1#<model>', or a "
        "TransformersModel(...), VLLMModel(...) or OpenAIServerModel(...)"
    )


def known_context(small: ModelSpec, large: LargeSpec) -> int | None:
    """Return the shorter context of a pair in tokens, as far as known without loading it."""
    lengths = (
        _context_tokens(small, role="small"),
        _context_tokens(line_up(large)[0], role="large"),
    )
    return min((length for length in lengths if length is not None), default=None)


def _context_tokens(spec: ModelSpec, *, role: Role) -> int | None:
    described = resolve(spec, role=role) if isinstance(spec, str | Described) else spec
    if isinstance(described, TransformersModel):
        return _folder_context(described.path)
    if isinstance(described, VLLMModel):
        return described.context_tokens or _folder_context(described.path)
    return described.context_tokens


@cache
def _folder_context(path: str) -> int | None:
    config = Path(path) / "config.json"
    if not config.is_file():
        return None
    length = json.loads(config.read_text("utf-8")).get("max_position_embeddings")
    return length if isinstance(length, int) else None


_models: dict[Described, Model] = {}
_locks: dict[Described, threading.Lock] = {}
_registry = threading.Lock()


async def load_model(spec: ModelSpec, *, role: Role) -> Model:
    """Return the model that a spec names. All callers with the same spec share it."""
    if not isinstance(spec, str | Described):
        if not hasattr(spec, "open_sessions"):
            raise ConfigurationError(
                f"{role} must be a text such as 'hf:<folder>', a TransformersModel(...), a "
                f"VLLMModel(...), an OpenAIServerModel(...) or a loaded model, got {spec!r}"
            )
        return spec
    described = resolve(spec, role=role)
    if described in _models:
        return _models[described]
    return await asyncio.to_thread(_load_once, described)


def _load_once(spec: Described) -> Model:
    with _registry:
        lock = _locks.setdefault(spec, threading.Lock())
    with lock:
        if spec not in _models:
            _models[spec] = _load(spec)
        return _models[spec]


def _load(spec: Described) -> Model:
    if isinstance(spec, OpenAIServerModel):
        from splitreason_integrations.backends.openai_server.load import load_server_model

        return load_server_model(spec)
    if isinstance(spec, VLLMModel):
        from splitreason_integrations.backends.vllm_local.load import load_vllm_model

        return load_vllm_model(spec)
    with _quiet_bars(spec.path.startswith(str(embedded.path("small").parent))):
        return _load_transformers(spec)


@contextmanager
def _quiet_bars(quiet: bool) -> Generator[None, None, None]:
    """Show no progress bar for models that load at once."""
    from transformers.utils import logging

    quiet = quiet and logging.is_progress_bar_enabled()
    if quiet:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if quiet:
            logging.enable_progress_bar()


def _check_device(name: str, device: str) -> None:
    import torch

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


def _load_transformers(spec: TransformersModel) -> Model:
    check_extra("local", "torch", what=f"{describe(spec)} runs in this process and")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from splitreason_integrations.backends.codec import TokenizerCodec
    from splitreason_integrations.backends.defaults import default_sampling, end_tokens
    from splitreason_integrations.backends.hf.model import HFModel
    from splitreason_integrations.backends.hf.steps import steps_for

    name = describe(spec)
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
        default_sampling=default_sampling(settings),
        steps=steps_for(network) if spec.cuda_graphs else None,
    )

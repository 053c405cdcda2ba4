"""How a model is named that vLLM runs here. Nothing is loaded, and vLLM not imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from splitreason_integrations.backends.description import (
    DType,
    LoadedByName,
    ModelDescription,
    Role,
    folder_context_tokens,
    folder_fingerprint,
)
from splitreason_integrations.checks import check_number
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import SettingError, UnknownSpecError
from splitreason_integrations.text.thinking import check_template

_DTYPES = get_args(DType)
_FIELD_OF = {
    "model": "path",
    "max_model_len": "context_tokens",
    "kv_cache_memory_bytes": "cache_tokens",
    "gpu_memory_utilization": "gpu_share",
    "device_ids": "devices",
    "tensor_parallel_size": "tensor_parallel",
    "data_parallel_size": "data_parallel",
    "enable_sleep_mode": "sleep_after_s",
    "dtype": "dtype",
    "trust_remote_code": "trust_remote_code",
}


@dataclass(frozen=True, slots=True)
class VLLMModel(LoadedByName, ModelDescription):
    """A model that vLLM runs in child processes of this one.

    It takes as much of each GPU as its weights and its KV cache need and no more, so two models can
    share a GPU. On a CPU vLLM takes the memory from `VLLM_CPU_KVCACHE_SPACE` if that is set.

    Attributes:
        path: a folder, or a name on the model hub.
        dtype: the type of the weights; `auto` is the checkpoint's own on a CPU, and what vLLM
            chooses for it on a GPU.
        context_tokens: the longest sequence; by default what the model can read.
        cache_tokens: the size of the KV cache, shared by all requests; at least one whole context.
        gpu_share: the part of each GPU to take, above 0 and up to 1, instead of the computed one.
        devices: the numbers of the GPUs, `tensor_parallel * data_parallel` of them; by default the
            first ones.
        tensor_parallel: GPUs that share the weights of one copy.
        data_parallel: copies of the model.
        sleep_after_s: seconds without a request after which the weights move to the host's memory;
            they come back with the next request.
        prices: what its tokens cost.
        hint: a sentence that this model alone sees at the end of the user's message.
        name: the name under which it is reported; `vllm:<path>` by default.
        trust_remote_code: whether to run Python code that comes with the model.
        taught: whether the model was trained to mark hard spans with the tags; by default a probe
            finds out at the first use.
        thinking: whether the model thinks before it answers, by its chat template or its family's
            marks; by default as the template has it.
        chat_template_kwargs: further variables of its chat template, such as
            `{"reasoning_effort": "low"}`.
        engine: further arguments of vLLM's `AsyncEngineArgs`, such as `{"quantization": "fp8"}`.

    """

    loader: ClassVar[str] = "splitreason_integrations.backends.vllm_local.load"

    path: str
    dtype: DType = field(default="auto", kw_only=True)
    context_tokens: int | None = field(default=None, kw_only=True)
    cache_tokens: int = field(default=32_768, kw_only=True)
    gpu_share: float | None = field(default=None, kw_only=True)
    devices: tuple[int, ...] | None = field(default=None, kw_only=True)
    tensor_parallel: int = field(default=1, kw_only=True)
    data_parallel: int = field(default=1, kw_only=True)
    sleep_after_s: float | None = field(default=None, kw_only=True)
    prices: Prices = field(default_factory=Prices, kw_only=True)
    hint: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    trust_remote_code: bool = field(default=False, kw_only=True)
    taught: bool | None = field(default=None, kw_only=True)
    thinking: bool | None = field(default=None, kw_only=True)
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)
    engine: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        if not self.path:
            raise UnknownSpecError("name a folder or a model on the hub, as in 'vllm:<folder>'")
        if self.dtype not in _DTYPES:
            raise SettingError(
                f"dtype must be one of {', '.join(_DTYPES)}, got {self.dtype!r}", ("dtype",)
            )
        for name in ("cache_tokens", "tensor_parallel", "data_parallel"):
            check_number(name, getattr(self, name), least=1, whole=True)
        if self.context_tokens is not None:
            check_number("context_tokens", self.context_tokens, least=1, whole=True)
        if self.gpu_share is not None:
            check_number("gpu_share", self.gpu_share, least=0.001, most=1.0)
        if self.sleep_after_s is not None:
            check_number("sleep_after_s", self.sleep_after_s, least=0.001)
        self._check_devices()
        check_template(self.thinking, self.chat_template_kwargs)
        for name in self.engine:
            if name in _FIELD_OF:
                raise SettingError(
                    f"engine may not have {name!r}: set {_FIELD_OF[name]} of VLLMModel", (name,)
                )

    @property
    def label(self) -> str:
        """The name under which the model is reported."""
        return self.name or f"vllm:{self.path}"

    def known_context_tokens(self) -> int | None:
        """Return `context_tokens`, else what the folder states."""
        return self.context_tokens or folder_context_tokens(self.path)

    def tokenizer_source(self) -> str:
        """Return the folder or hub name."""
        return self.path

    def holds_forms(self) -> bool:
        """Return True."""
        return True

    def fingerprint(self) -> str:
        """Return a digest of the files' sizes and times."""
        return folder_fingerprint(self.path)

    @property
    def gpus(self) -> tuple[int, ...]:
        """The numbers of the GPUs that it runs on, where there are GPUs."""
        return self.devices or tuple(range(self.tensor_parallel * self.data_parallel))

    def _check_devices(self) -> None:
        if self.devices is None:
            return
        object.__setattr__(self, "devices", tuple(self.devices))
        for one in self.devices:
            check_number("devices", one, whole=True)
        wanted = self.tensor_parallel * self.data_parallel
        if len(set(self.devices)) != wanted or len(self.devices) != wanted:
            raise SettingError(
                f"devices must name {wanted} different GPUs, one for each of tensor_parallel x "
                f"data_parallel, got {self.devices!r}",
                ("devices",),
            )


def parse_vllm(text: str, role: Role) -> VLLMModel:
    """Return what `vllm:<folder or hub name>` names."""
    return VLLMModel(text.partition(":")[2])

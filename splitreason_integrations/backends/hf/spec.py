"""How a model is named that transformers runs in this process. Neither it nor torch is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.description import (
    DType,
    LoadedByName,
    ModelDescription,
    Role,
    folder_context_tokens,
    folder_fingerprint,
)
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.checks import check_extra
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ModelLoadError, UnknownSpecError
from splitreason_integrations.text.thinking import check_template


@dataclass(frozen=True, slots=True)
class TransformersModel(LoadedByName, ModelDescription):
    """A model that transformers runs in this process.

    Attributes:
        path: a folder, a GGUF file, or a name on the model hub. The numbers of a GGUF file are
            turned into ordinary weights.
        device: `auto` (CUDA if there is a GPU, else CPU), `cpu`, `cuda` or, for one GPU, `cuda:1`.
        dtype: the type of the weights.
        prices: what its tokens cost.
        hint: a sentence that this model alone sees at the end of the user's message.
        name: the name under which it is reported; `hf:<path>` by default.
        trust_remote_code: whether to run Python code that comes with the model.
        cuda_graphs: whether to replay short passes on a GPU as CUDA graphs where the network allows
            it: steps are several times as fast, for the memory of one more KV cache.
        taught: whether the model was trained to mark hard spans with the tags; by default a probe
            finds out at the first use.
        thinking: whether the model thinks before it answers, by its chat template or its family's
            marks; by default as the template has it.
        chat_template_kwargs: further variables of its chat template, such as
            `{"reasoning_effort": "low"}`.

    Raises:
        SettingError: if one of the last two is of another type.

    """

    loader: ClassVar[str] = "splitreason_integrations.backends.hf.load"

    path: str
    device: str = "auto"
    dtype: DType = "auto"
    prices: Prices = field(default_factory=Prices)
    hint: str | None = None
    name: str | None = None
    trust_remote_code: bool = False
    cuda_graphs: bool = True
    taught: bool | None = None
    thinking: bool | None = field(default=None, kw_only=True)
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        check_template(self.thinking, self.chat_template_kwargs)

    @property
    def label(self) -> str:
        """The name under which the model is reported."""
        return self.name or f"hf:{self.path}"

    def load(self) -> Model:
        """Load the model; see `ModelDescription.load`."""
        check_extra("local", "torch", what=f"{self.label} runs in this process and")
        files_of(source_of(self.path)[0], what=f"{self.label} cannot be loaded")
        return LoadedByName.load(self)

    def known_context_tokens(self) -> int | None:
        """Return the context length that the folder states."""
        return folder_context_tokens(self.path)

    def tokenizer_source(self) -> str | None:
        """Return the folder or hub name; None for a GGUF file."""
        folder, gguf_file = source_of(self.path)
        return folder if gguf_file is None else None

    def holds_forms(self) -> bool:
        """Return True."""
        return True

    def fingerprint(self) -> str:
        """Return a digest of the files' sizes and times."""
        return folder_fingerprint(self.path)

    def placed_on(self, device: str) -> "TransformersModel":
        """Return this model on `device` unless it names one."""
        return replace(self, device=device) if self.device == "auto" else self


def parse_hf(text: str, role: Role) -> TransformersModel:
    """Return what `hf:<folder or hub name>` names."""
    path = text.partition(":")[2]
    if not path:
        raise UnknownSpecError(
            f"{text!r}: name a folder or a model on the hub, as in 'hf:<folder>'"
        )
    return TransformersModel(path)


def source_of(path: str) -> tuple[str, str | None]:
    """Return the folder or hub name of a model, and its GGUF file if that holds the weights.

    Raises ModelLoadError for a folder with several GGUF files and no other weights.
    """
    if path.endswith(".gguf"):
        folder, _, file = path.rpartition("/")
        return folder or ".", file
    files = {file.name for file in Path(path).glob("*")} if Path(path).is_dir() else set()
    ggufs = sorted(name for name in files if name.endswith(".gguf"))
    if not ggufs or any(name.endswith((".safetensors", ".bin")) for name in files):
        return path, None
    if ggufs[1:]:
        raise ModelLoadError(
            f"hf:{path} has several GGUF files: name one, as in 'hf:{Path(path) / ggufs[0]}'"
        )
    return path, ggufs[0]

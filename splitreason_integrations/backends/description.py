"""What names a model before it is loaded: a value that knows its label, its checks and its loading.

A backend has one such class and one line in `registry`. A package of others inherits from
`ModelDescription` and registers a parser under an entry point group; see `registry.ENTRY_POINTS`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.trials import Finding, try_all
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.privacy.secret_names import shown_fields, without_credentials

Role = Literal["small", "large"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
"""The type of a model's weights; `auto` is the checkpoint's own."""


class ModelDescription(ABC):
    """A model by name and options, not loaded yet.

    Equal descriptions share one loaded model, so a description is frozen and hashable. A printed
    one shows no secret: neither a field with `repr=False`, nor what `is_secret` names at any depth.
    """

    __slots__ = ()

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if cls.__repr__ is ModelDescription.__repr__:
            # A dataclass would write one of its own, with every value in it.
            cls.__repr__ = ModelDescription.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return shown_fields(self) if is_dataclass(self) else object.__repr__(self)

    on_server: ClassVar[bool] = False
    """Whether another process answers, which may not be reachable now."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The name under which the model is reported."""

    @property
    def public_label(self) -> str:
        """The label without credentials, for logs and traces."""
        return without_credentials(self.label)

    @abstractmethod
    def load(self) -> Model:
        """Load the model; may block, and runs in a thread of its own.

        Raises:
            ModelUnreachableError: if it cannot be reached now; a later attempt may succeed.
            ConfigurationError: if the description itself is wrong, or something is missing here.

        """

    def known_context_tokens(self) -> int | None:
        """Return the length of the context in tokens, None if unknown before loading."""
        return None

    def tokenizer_source(self) -> str | None:
        """Return a folder or hub name to load the tokenizer from, None if there is none."""
        return None

    def holds_forms(self) -> bool | None:
        """Return whether answers can be held to a schema or a call, None if not known yet."""
        return None

    def fingerprint(self) -> str | None:
        """Return a digest that changes with the weights behind the label, None if unknown."""
        return None

    def placed_on(self, device: str) -> "ModelDescription | None":
        """Return this model in this process, with its logits, on `device` unless it names one.

        None if the model shows no logits in this process.
        """
        return None

    def replicas(self) -> Sequence["ModelDescription"]:
        """Return the parts that `splitreason doctor` examines one by one."""
        return (self,)

    def with_prices(self, prices: Prices) -> "ModelDescription":
        """Return the same model with other prices."""
        return cast("ModelDescription", replace(cast("Any", self), prices=prices))

    async def findings(self, model: Model, *, role: Role) -> AsyncGenerator[Finding, None]:
        """Try the loaded model with the calls that a request makes; yield what was found."""
        async for finding in try_all(model, role=role):
            yield finding
        examine = import_module("splitreason_integrations.backends.abilities")
        async for finding in examine.abilities(model, role=role):
            yield finding


class LoadedByName:
    """Loads through `load(description)` of the module `loader`, imported on first use.

    So naming a model imports none of the libraries that run it.
    """

    __slots__ = ()

    loader: ClassVar[str]

    def load(self) -> Model:
        """Load the model; see `ModelDescription.load`."""
        return cast("Model", import_module(self.loader).load(self))


def folder_fingerprint(path: str) -> str:
    """Return 12 hexadecimal digits that change with the size and time of a file or a folder's."""
    digest = hashlib.sha256()
    for file in sorted(Path(path).glob("*")) or [Path(path)]:
        with suppress(OSError):
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


@cache
def folder_context_tokens(path: str) -> int | None:
    """Return the context length that a folder's config.json states, None if it states none."""
    config = Path(path) / "config.json"
    if not config.is_file():
        return None
    return stated_context_tokens(json.loads(config.read_text("utf-8")))


def stated_context_tokens(config: Mapping[str, Any]) -> int | None:
    """Return the context length that a configuration states, or that of its text model."""
    for place in (config, config.get("text_config")):
        length = place.get("max_position_embeddings") if isinstance(place, Mapping) else None
        if isinstance(length, int):
            return length
    return None

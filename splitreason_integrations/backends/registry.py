"""Models by name: each spec is loaded once in a process, on first use, and shared.

A text names a model by its prefix: `hf:`, `vllm:`, `http:`, `https:`, `embedded`, or one that an
installed package registers under the entry point group `splitreason_integrations.backends`.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TypeAlias, cast, get_args

from splitreason_integrations import embedded
from splitreason_integrations.backends.base import Gives, Model, ProcessBound
from splitreason_integrations.backends.description import ModelDescription, Role
from splitreason_integrations.backends.hf.spec import TransformersModel, parse_hf
from splitreason_integrations.backends.loads import Loads
from splitreason_integrations.backends.local_codec import local_codec
from splitreason_integrations.backends.openai_server.spec import parse_server
from splitreason_integrations.backends.vllm_local.spec import parse_vllm
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ConfigurationError, UnknownSpecError
from splitreason_integrations.privacy.secret_names import without_credentials
from splitreason_integrations.protocols import Codec

PROVIDER = "splitreason"
"""Who provides a pair, in the words of frameworks and traces."""

ENTRY_POINTS = "splitreason_integrations.backends"
"""The entry point group; a name in it is a prefix, its object a `Parser`."""

ModelSpec: TypeAlias = str | ModelDescription | Model
LargeSpec: TypeAlias = ModelSpec | Sequence[ModelSpec]
"""One large model, or several in the order in which they take over from each other."""

Parser = Callable[[str, Role], ModelDescription]
"""Given a whole text and a role, returns what it names; raises ConfigurationError."""


def parse_embedded(text: str, role: Role) -> TransformersModel:
    """Return what `embedded` names in a role, or `embedded:<member>` in any."""
    member = text.partition(":")[2] or role
    if member not in embedded.MEMBERS:
        raise UnknownSpecError(
            f"{text!r}: the embedded models are {', '.join(embedded.MEMBERS)}, as in "
            "'embedded:small'"
        )
    return TransformersModel(
        str(embedded.path(member)),
        device="cpu",
        name=f"splitreason-embedded-{member}",
        taught=member != "base",
    )


PARSERS: Mapping[str, Parser] = {
    "embedded": parse_embedded,
    "hf": parse_hf,
    "vllm": parse_vllm,
    "http": parse_server,
    "https": parse_server,
}
"""The backends of this package by their prefixes."""


_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("huggingface", "huggingface_hub", "transformers", "local"), "hf:"),
    "openai": "https://api.openai.com/v1#",
    "deepseek": "https://api.deepseek.com/v1#",
    "openrouter": "https://openrouter.ai/api/v1#",
    "ollama": "http://127.0.0.1:11434/v1#",
    "llamacpp": "http://127.0.0.1:8080/v1#",
}
"""What other packages' names for providers are here."""


def resolve(spec: str | ModelDescription, *, role: Role) -> ModelDescription:
    """Return the description of a named model; nothing is loaded.

    Raises:
        UnknownSpecError: if no backend knows the name.

    """
    if not isinstance(spec, str):
        return spec
    prefix = spec.partition(":")[0]
    parser = PARSERS.get(prefix) or _installed_parser(prefix)
    if parser is None:
        close, text = _meant(without_credentials(spec)), without_credentials(spec)
        raise UnknownSpecError(
            f"unknown {role} model {text!r}{f'; did you mean {close!r}?' if close else ''}: use "
            "'embedded', 'hf:<folder or name on the hub>', 'vllm:<folder or name on the hub>', "
            "'https://<host>/v1#<model>', or a TransformersModel(...), VLLMModel(...) or "
            "OpenAIServerModel(...)"
        )
    return parser(spec, role)


def _meant(spec: str) -> str | None:
    """Return how a text that names no backend may have been meant; None where nothing is close."""
    prefix, separator, rest = spec.partition(":")
    if rest and prefix.lower() in _ELSEWHERE:
        return _ELSEWHERE[prefix.lower()] + rest
    installed = (found.name for found in entry_points(group=ENTRY_POINTS))
    close = get_close_matches(prefix.lower(), [*PARSERS, *installed], n=1)
    if close:
        return f"{close[0]}{separator}{rest}"
    return f"hf:{spec}" if "/" in spec and not separator else None


def _installed_parser(prefix: str) -> Parser | None:
    """Return the parser that an installed package registers for a prefix."""
    for found in entry_points(group=ENTRY_POINTS, name=prefix):
        try:
            return cast("Parser", found.load())
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the backend {prefix!r} ({found.value}) cannot be imported: {error}"
            ) from error
    return None


def line_up(spec: LargeSpec) -> tuple[ModelSpec, ...]:
    """Return the large models in their order; raise ConfigurationError if there is none."""
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
    if isinstance(spec, ModelDescription):
        return spec.label
    return cast("Model", spec).name


def name_and_prices(spec: ModelSpec) -> tuple[str, Prices]:
    """Return a large model's name and its own prices, without loading it."""
    if isinstance(spec, str):
        spec = resolve(spec, role="large")
    name = spec.label if isinstance(spec, ModelDescription) else spec.name
    return name, getattr(spec, "prices", Prices())


def public_name(spec: object) -> str:
    """Return what logs and traces may call a spec: its short name without credentials."""
    if isinstance(spec, list | tuple):
        return ",".join(public_name(one) for one in spec)
    if isinstance(spec, ModelDescription):
        return spec.public_label
    try:
        return without_credentials(describe(cast("ModelSpec", spec)))
    except AttributeError:
        return type(spec).__name__


def pair_name(small: ModelSpec, large: LargeSpec) -> str:
    """Return the name under which a pair is reported."""
    return f"{PROVIDER}/{describe(small)}+{describe(large)}"


def known_context(small: ModelSpec, large: LargeSpec, *, uses_large: bool = True) -> int | None:
    """Return the shorter context of a pair in tokens, as far as known without loading it.

    Where no span can open, the large model is not used and its context does not count.
    """
    lengths = [_context_tokens(small, role="small")]
    if uses_large:
        lengths.append(_context_tokens(line_up(large)[0], role="large"))
    return min((length for length in lengths if length is not None), default=None)


def _context_tokens(spec: ModelSpec, *, role: Role) -> int | None:
    if isinstance(spec, str | ModelDescription):
        return resolve(spec, role=role).known_context_tokens()
    return spec.context_tokens


def check_model_spec(spec: object, *, role: Role) -> None:
    """Raise ConfigurationError unless `spec` names a model or is one; nothing is loaded."""
    if isinstance(spec, str | ModelDescription):
        resolve(spec, role=role)
    elif not hasattr(spec, "open_sessions"):
        raise ConfigurationError(
            f"{role} must be a text such as 'hf:<folder>', a TransformersModel(...), a "
            f"VLLMModel(...), an OpenAIServerModel(...) or a loaded model, got {spec!r}"
        )


_loads = Loads()


def is_on_server(spec: ModelSpec, *, role: Role) -> bool:
    """Return whether another process answers for a model, which may not be reachable."""
    if isinstance(spec, str | ModelDescription):
        return resolve(spec, role=role).on_server
    return spec.remote


def is_loaded(spec: ModelSpec, *, role: Role) -> bool:
    """Return whether `load_model` would return at once."""
    if isinstance(spec, str | ModelDescription):
        return _loads.get(resolve(spec, role=role)) is not None
    return True


def codec_here(spec: ModelSpec, *, role: Role) -> Codec | None:
    """Return a model's codec: that of a loaded model, else from its tokenizer's files.

    None where the model has to be loaded for it, since its description names no tokenizer.

    Raises:
        ModelLoadError: if the tokenizer that it names is not on this machine.

    """
    if not isinstance(spec, str | ModelDescription):
        return spec.codec
    described = resolve(spec, role=role)
    loaded = _loads.get(described)
    if loaded is not None:
        return loaded.codec
    return None if described.tokenizer_source() is None else local_codec(described)


def hint_of(spec: ModelSpec, *, role: Role) -> str | None:
    """Return the sentence that a model alone sees at the end of the user's message."""
    described = resolve(spec, role=role) if isinstance(spec, str | ModelDescription) else spec
    return getattr(described, "hint", None)


def holds_forms(spec: ModelSpec, *, role: Role) -> bool | None:
    """Return whether answers can be held to a schema or a call; None if unknown before loading."""
    if not isinstance(spec, str | ModelDescription):
        return Gives.FORM in spec.gives
    return resolve(spec, role=role).holds_forms()


async def load_model(spec: ModelSpec, *, role: Role, deadline_s: float | None = None) -> Model:
    """Return the model that a spec names, loading it on first use.

    All callers with the same spec share one load and one model. A caller that is cancelled, or
    whose deadline passes, stops waiting; the load goes on for the others.

    Args:
        spec: a model by name, by description, or loaded already.
        role: what `"embedded"` stands for, and what errors call it.
        deadline_s: when to stop waiting, a time of `time.monotonic()`.

    Raises:
        ModelLoadTimeoutError: if the model is not loaded by `deadline_s`.
        ModelUnreachableError: if it is on a server that cannot be reached or fails now.
        ConfigurationError: if the spec itself is wrong, or something is missing here. The next
            call tries again after any of these.
        ForkedProcessError: if the model is on a GPU and this process was forked after it loaded.

    """
    check_model_spec(spec, role=role)
    if isinstance(spec, str | ModelDescription):
        model = await _loads.load(resolve(spec, role=role), deadline_s=deadline_s)
    else:
        model = spec
    if isinstance(model, ProcessBound):
        model.check_process()
    return model


def hold(model: Model) -> None:
    """Keep a loaded model from being released until `let_go`: a request uses it."""
    _loads.hold(model)


def let_go(model: Model) -> None:
    """Let a model that was held be released again."""
    _loads.let_go(model)


def release(*models: LargeSpec) -> None:
    """Free the memory, processes and connections of models.

    A spec that is used again afterwards is loaded again. Specs that are not loaded are ignored.
    Ending vLLM's processes can take seconds: in an event loop, use `asyncio.to_thread`.

    Args:
        *models: specs, loaded models, or lists of them. `"embedded"` is the small and the large.

    Raises:
        ModelInUseError: if requests still use one of the models; none is freed then.
        UnknownSpecError: if no backend knows a name.

    """
    specs, loaded = set[ModelDescription](), list[Model]()
    for one in (one for several in models for one in line_up(several)):
        check_model_spec(one, role="small")
        if isinstance(one, str | ModelDescription):
            specs |= {resolve(one, role=role) for role in get_args(Role)}
        else:
            loaded.append(one)
    _loads.release(specs, loaded)

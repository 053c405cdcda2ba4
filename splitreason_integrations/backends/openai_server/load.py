"""Makes a model of what is known of a server's: its tokenizer, its context, its defaults."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from splitreason_integrations.backends.codec import BorrowedCodec, TokenizerCodec
from splitreason_integrations.backends.defaults import default_sampling, end_tokens
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.ids import NO_SERVER_KNOWS
from splitreason_integrations.backends.openai_server.marks import HOSTS
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.replicas import Replicas
from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel
from splitreason_integrations.errors import ModelCallError, ModelLoadError, ModelUnreachableError
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.thinking import TemplateSettings

_NAMED = 8
_LENGTHS = ("max_model_len", "context_length", "max_context_length", "context_window", "n_ctx")
"""How servers call the length of a model's context; llama.cpp says it in `meta`."""


def load(spec: OpenAIServerModel) -> ServerModel:
    """Return the model that a spec names; asks the server what the spec does not say.

    Raises:
        ModelUnreachableError: if no server answers now.
        ModelLoadError: if the server refuses, has no such model, or no tokenizer is known.

    """
    servers = [Server(spec, url) for url in spec.urls]
    here = spec.tokenizer or (spec.model if Path(spec.model).is_dir() else None)
    facts = {} if here and spec.context_tokens else _ask(servers, spec)
    root = facts.get("root")
    if here is None and isinstance(root, str) and Path(root).is_dir():
        here = root
    if here is None:
        raise ModelLoadError(
            f"{spec.label}: its tokenizer is not known here; give it: OpenAIServerModel("
            f"{spec.url!r}, {spec.model!r}, tokenizer='<folder or name on the hub>'); where nobody "
            "has it, the small model's with own_tokenizer=False"
        )
    here = files_of(here, what=f"{spec.label}: its tokenizer cannot be loaded")
    tokenizer = _tokenizer(here, spec)
    ends, sampling = _defaults(here, spec.label)
    make = TokenizerCodec if spec.own_tokenizer else BorrowedCodec
    template = TemplateSettings(spec.thinking, spec.chat_template_kwargs)
    codec = make(tokenizer, name=spec.label, end_tokens=ends, template=template)
    return ServerModel(
        Replicas(servers),
        codec,
        model=spec.model,
        name=spec.label,
        vocabulary=max(tokenizer.get_vocab().values()) + 1,
        context_tokens=_context_tokens(spec, facts),
        prices=spec.prices,
        hint=spec.hint,
        taught=spec.taught,
        default_sampling=sampling if spec.own_tokenizer else None,
        speaks=spec.dialect or _speaks(spec),
        own_tokenizer=spec.own_tokenizer,
        host=_host(spec),
    )


def _speaks(spec: OpenAIServerModel) -> str | None:
    """Return the dialect of a provider that is known by its address."""
    return HOSTS.get(_host(spec))


def _host(spec: OpenAIServerModel) -> str:
    return urlsplit(spec.urls[0]).hostname or ""


def _ask(servers: Sequence[Server], spec: OpenAIServerModel) -> Mapping[str, Any]:
    """Return what the first server that answers says of the model."""
    answer: Any = None
    for at, server in enumerate(servers, 1):
        try:
            answer = server.get("/models")
            break
        except ModelCallError as error:
            if at == len(servers):
                kind = ModelUnreachableError if error.retryable else ModelLoadError
                raise kind(str(error)) from error
    listed = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(listed, list):
        raise ModelLoadError(
            f"{spec.label}: the server lists no models at /models; give tokenizer and "
            "context_tokens"
        )
    models = [one for one in listed if isinstance(one, Mapping)]
    for one in models:
        if one.get("id") == spec.model:
            meta = one.get("meta")
            return {**meta, **one} if isinstance(meta, Mapping) else one
    if Path(spec.model).is_dir():
        return {}  # `transformers serve` runs a folder, and lists nothing but the hub's cache
    names = ", ".join(repr(str(one.get("id"))[:80]) for one in models[:_NAMED])
    raise ModelLoadError(f"{spec.label}: the server has no model of that name; it has {names}")


def _tokenizer(here: str, spec: OpenAIServerModel) -> Any:
    try:
        return AutoTokenizer.from_pretrained(here, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelLoadError(
            f"{spec.label}: its tokenizer cannot be loaded from {here!r}: {reason}; set tokenizer "
            "to a folder with tokenizer.json, or to a name that is in the local hub cache"
        ) from error


def _defaults(here: str, name: str) -> tuple[tuple[int, ...], Sampling]:
    """Return the tokens that end a turn and how a model samples, where that is known here."""
    try:
        settings = GenerationConfig.from_pretrained(here)
    except (OSError, ValueError):
        return (), Sampling(temperature=0.0)
    sampling = default_sampling(settings, name=name, without=NO_SERVER_KNOWS)
    return end_tokens(settings), sampling


def _context_tokens(spec: OpenAIServerModel, facts: Mapping[str, Any]) -> int:
    """Return the context that both sides know of: the shorter one."""
    lengths = (spec.context_tokens, *map(facts.get, _LENGTHS))
    known = [length for length in lengths if type(length) is int and length > 0]
    if not known and Path(spec.model).is_dir():
        known = [*filter(None, [_stated_length(spec.model)])]
    if not known:
        raise ModelLoadError(
            f"{spec.label}: the server does not say how long its context is; give context_tokens"
        )
    return min(known)


def _stated_length(folder: str) -> int | None:
    """Return the length of context that the configuration in a model's folder states."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError):
        return None
    stated = getattr(config, "max_position_embeddings", None)
    return stated if type(stated) is int and stated > 0 else None

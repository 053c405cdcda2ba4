"""How a model behind an OpenAI-compatible server is named. No server is asked here."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.description import LoadedByName, ModelDescription, Role
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.backends.trials import Finding
from splitreason_integrations.checks import check_number
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ConfigurationError, UnknownSpecError
from splitreason_integrations.privacy.secret_names import without_credentials
from splitreason_integrations.processes import environment
from splitreason_integrations.text.thinking import check_template

if TYPE_CHECKING:
    from pydantic import SecretStr

Dialect = Literal["ids", "text", "continue", "prefix", "partial", "trailing", "plain"]
_TEXTS = ("ids", "text")
_LEFT_OUT = ""
"""Stands for a key in what was pickled: no key is empty."""
_EXAMPLE = "'http://127.0.0.1:8000/v1#<model>'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits of the connections to a server.

    Attributes:
        connect_s: seconds to connect.
        read_s: seconds between two events of an answer; comments and pings alone lengthen a wait to
            ten times as long at most.
        connections: connections at a time.

    """

    connect_s: float = 10.0
    read_s: float = 120.0
    connections: int = 256

    def __post_init__(self) -> None:
        check_number("connect_s", self.connect_s, least=0.001)
        check_number("read_s", self.read_s, least=0.001)
        check_number("connections", self.connections, least=1, whole=True)


@dataclass(frozen=True, slots=True)
class OpenAIServerModel(LoadedByName, ModelDescription):
    """A model behind an OpenAI-compatible server.

    If both `tokenizer` and `context_tokens` are given, nothing is asked of the server before the
    first handoff.

    Attributes:
        url: the address that `/completions` follows. Several, separated by commas, are replicas of
            one model: the least loaded one is asked, and if it fails another one continues.
        model: the server's name for the model.
        tokenizer: a folder or a name on the model hub; by default the model's name if that is a
            folder here, else the server's own path of the model if that is one.
        api_key: the key; it is sent to `url` alone and shown nowhere.
        api_key_env: the environment variable that holds the key.
        prices: what its tokens cost.
        hint: a sentence that this model alone sees at the end of the user's message.
        name: the name under which it is reported; `<url>#<model>` by default.
        context_tokens: the longest sequence; by default the server's own.
        dialect: how to talk to the server; by default the best one is found at the first use, and
            providers are known by their addresses. `ids` is token ids both ways (vLLM), `text` is
            text both ways (llama.cpp, older servers). In a chat there are `continue`
            (`continue_final_message`: vLLM, SGLang), `prefix` (DeepSeek's beta, Mistral, LiteLLM),
            `partial` (Qwen, Moonshot) and `trailing` (Anthropic, OpenRouter). `plain` is the last
            resort for a large model: a message asks for the next step.
        own_tokenizer: whether `tokenizer` is the model's own. A hosted model whose tokenizer nobody
            has takes another one, best the small model's, and False: its text is counted and cut by
            that.
        taught: whether the model was trained to mark hard spans with the tags; by default a probe
            finds out at the first use.
        thinking: whether the model thinks before it answers, by its chat template or its family's
            marks; by default as the template has it. In a
            chat it is sent to the server: as `chat_template_kwargs`, or in a provider's own way.
        chat_template_kwargs: further variables of its chat template, such as
            `{"reasoning_effort": "low"}`.
        limits: time limits and connections.

    Raises:
        ConfigurationError: if the dialect is unknown, two keys are given, or `own_tokenizer=False`
            lacks a tokenizer or a chat's dialect; an UnknownSpecError if an address is not valid.

    """

    loader: ClassVar[str] = "splitreason_integrations.backends.openai_server.load"
    on_server: ClassVar[bool] = True

    url: str
    model: str
    tokenizer: str | None = field(default=None, kw_only=True)
    api_key: "SecretStr | str | None" = field(default=None, kw_only=True, repr=False)
    api_key_env: str | None = field(default=None, kw_only=True)
    prices: Prices = field(default_factory=Prices, kw_only=True)
    hint: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    context_tokens: int | None = field(default=None, kw_only=True)
    dialect: Dialect | None = field(default=None, kw_only=True)
    own_tokenizer: bool = field(default=True, kw_only=True)
    taught: bool | None = field(default=None, kw_only=True)
    thinking: bool | None = field(default=None, kw_only=True)
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)
    limits: ServerLimits = field(default_factory=ServerLimits, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", ",".join(map(_checked, self.url.split(","))))
        if not self.model:
            raise UnknownSpecError(f"{self.url}: name the model behind '#', as in {_EXAMPLE}")
        if self.context_tokens is not None:
            check_number("context_tokens", self.context_tokens, least=1, whole=True)
        self._check_dialect()
        check_template(self.thinking, self.chat_template_kwargs)
        if self.api_key is not None and self.api_key_env is not None:
            raise ConfigurationError("give either api_key or api_key_env, not both")
        if isinstance(self.api_key, str):
            from pydantic import SecretStr

            object.__setattr__(self, "api_key", SecretStr(self.api_key))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: all but the key, which nobody else is to read."""
        state = {one.name: getattr(self, one.name) for one in fields(self)}
        return state if self.api_key is None else {**state, "api_key": _LEFT_OUT}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __copy__(self) -> "OpenAIServerModel":
        return self

    def __deepcopy__(self, memo: Any) -> "OpenAIServerModel":
        return self

    def _check_dialect(self) -> None:
        known = get_args(Dialect)
        if self.dialect is not None and self.dialect not in known:
            raise ConfigurationError(
                f"dialect must be one of {', '.join(known)}, or None to find it, "
                f"got {self.dialect!r}"
            )
        if not self.own_tokenizer and (self.tokenizer is None or self.dialect in _TEXTS):
            raise ConfigurationError(
                f"{self.label}: own_tokenizer=False takes a tokenizer, such as the small model's, "
                "and a dialect of chats: only a model's own tokens can be sent as its prompt"
            )

    @classmethod
    def of(cls, text: str) -> "OpenAIServerModel":
        """Return what `https://host/v1#<model>` names; raise UnknownSpecError for other texts."""
        url, _, model = text.partition("#")
        return cls(url, model)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the model's servers."""
        return tuple(self.url.split(","))

    @property
    def label(self) -> str:
        """The name under which the model is reported."""
        return self.name or f"{self.url}#{self.model}"

    def load(self) -> Model:
        """Load the tokenizer; see `ModelDescription.load`."""
        if self.tokenizer is not None:
            files_of(self.tokenizer, what=f"{self.label}: its tokenizer cannot be loaded")
        return LoadedByName.load(self)

    def known_context_tokens(self) -> int | None:
        """Return `context_tokens`."""
        return self.context_tokens

    def tokenizer_source(self) -> str | None:
        """Return `tokenizer`."""
        return self.tokenizer

    def holds_forms(self) -> bool | None:
        """Return whether the dialect holds answers to grammars; the server decides for `text`."""
        return None if self.dialect in (None, "text") else self.dialect == "ids"

    def replicas(self) -> Sequence["OpenAIServerModel"]:
        """Return each server of the model by itself."""
        return [replace(self, url=url) for url in self.urls]

    async def findings(self, model: Model, *, role: Role) -> AsyncGenerator[Finding, None]:
        """Yield the dialect that the server speaks, and what it can do in it."""
        examine = import_module("splitreason_integrations.backends.openai_server.examine")
        async for finding in examine.findings(model, role=role):
            yield finding

    def key(self) -> str | None:
        """Return the key; raise ConfigurationError where there is none in its variable."""
        if self.api_key_env is not None:
            where, key = (
                f"the environment variable {self.api_key_env}",
                environment.secret(self.api_key_env),
            )
        elif self.api_key == _LEFT_OUT:
            raise ConfigurationError(
                f"{self.label}: the key was left out where this was pickled; name the environment "
                "variable that holds it, api_key_env, which the other process reads"
            )
        elif self.api_key is not None:
            where, key = "api_key", _revealed(self.api_key)
        else:
            return None
        key = (key or "").strip()
        if not key or not all("!" <= character <= "~" for character in key):
            raise ConfigurationError(
                f"{self.label}: {where} has to hold the server's key, in plain characters"
            )
        return key


def _revealed(key: "SecretStr | str") -> str:
    return key if isinstance(key, str) else key.get_secret_value()


def _checked(url: str) -> str:
    """Return a server's address without the slash at its end. Errors do not repeat its parts."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UnknownSpecError(f"a server's address is not valid: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise UnknownSpecError(
            "a server's address must hold no user or password: they would be shown in replies and "
            "logs; use OpenAIServerModel(..., api_key_env='<environment variable>')"
        )
    plain = all("!" <= character <= "~" for character in url)
    if parts.scheme not in ("http", "https") or not (parts.hostname and plain) or parts.query:
        raise UnknownSpecError(
            f"a server's address must read like {_EXAMPLE}, in plain characters and without a "
            f"query, got {without_credentials(url)!r}"
        )
    return url.rstrip("/")


def parse_server(text: str, role: Role) -> OpenAIServerModel:
    """Return what `https://<host>/v1#<model>` names."""
    return OpenAIServerModel.of(text)

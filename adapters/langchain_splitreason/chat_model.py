"""The chat model: settings in, LangChain messages out. The engine does the work.

Weights are loaded by the first request, never by the constructor.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from langchain_splitreason.call import Call
from langchain_splitreason.fields import (
    PROVIDER,
    check_names,
    check_policy,
    check_spec,
    check_trigger,
    pair_name,
    read_pair,
)
from langchain_splitreason.messages import to_chat
from langchain_splitreason.profile import profile_of
from langchain_splitreason.runs import RUN, Run, RunManager, TracedChatModel
from langchain_splitreason.tools import convert_tools, offered, read_tool_choice
from splitreason_integrations.backends.registry import describe
from splitreason_integrations.engine import Request, SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.policy import Policy
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.triggers import Tag, parse_trigger

# Typed as Any, since LangChain makes a schema of a field's bare type where it is configurable.
SpecField = Annotated[Any, PlainValidator(check_spec), WithJsonSchema({"type": "string"})]
TriggerField = Annotated[Any, PlainValidator(check_trigger), WithJsonSchema({"type": "string"})]
PolicyField = Annotated[Any, PlainValidator(check_policy), WithJsonSchema({"type": "object"})]

SAMPLING = ("temperature", "top_p", "top_k", "min_p")
OPTIONS = (
    "small",
    "large",
    "trigger",
    "policy",
    *SAMPLING,
    "max_tokens",
    "timeout",
    "stop",
    "seed",
    "on_large_failure",
    "close_threshold",
    "handback_tokens",
)
"""What can be set on the model, and again for a single call."""

MODEL_NAMES = ("model", "model_name")

_TRACING = ("ls_structured_output_format", "structured_output_format")


class SplitReasonLLM(TracedChatModel):
    """A chat model: `small` writes, and hands the hard spans to `large` where `trigger` says so.

    `trigger` may be a text such as `"tag>0.2"`, `policy` a dict of `Policy`'s caps. `model` names
    the small model, or both as `model_name` reads out: `splitreason/<small>+<large>`. All options
    can be given for a single call too: `llm.invoke(..., trigger="never", seed=1)`.

    After `timeout` seconds a reply ends with what it has and `stop_reason` "deadline".
    The answer is the message's content; the chain of thought is in
    `additional_kwargs["reasoning_content"]`, who wrote what in `additional_kwargs["authors"]`
    and what it took in `response_metadata["splitreason"]`.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)

    small: SpecField = "embedded"
    large: SpecField = "embedded"
    trigger: TriggerField = Field(default_factory=Tag)
    policy: PolicyField = Field(default_factory=Policy)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0)
    stop: list[str] | str | None = Field(default=None, alias="stop_sequences")
    seed: int | None = None
    on_large_failure: Literal["small", "raise"] = "small"
    close_threshold: float = Field(default=0.5, ge=0, le=1)
    handback_tokens: int = Field(default=8, ge=1)
    streaming: bool | None = None
    """Whether `invoke` streams to callbacks that want tokens; None leaves it to them."""

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Refuse unknown options; take `model` for what it names."""
        if not isinstance(given, dict):
            return given
        aliases = {field.alias for field in cls.model_fields.values() if field.alias}
        check_names(given, {*cls.model_fields, *aliases, *MODEL_NAMES}, what="option")
        named = [given[name] for name in MODEL_NAMES if name in given]
        if not named:
            return given
        rest = {name: value for name, value in given.items() if name not in MODEL_NAMES}
        if "small" in rest:
            raise ConfigurationError("give either model or small: model names the small model")
        return {**rest, **read_pair(named[0])}

    @model_validator(mode="after")
    def _check_sampling(self) -> "SplitReasonLLM":
        self._sampling()
        return self

    @property
    def model_name(self) -> str:
        """The pair, as replies and traces name it."""
        return pair_name(self.small, self.large)

    @property
    def model(self) -> str:
        """The same as `model_name`."""
        return self.model_name

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools to call.

        `tool_choice` "any", "required" or a tool's name is a promise that the reply is held to,
        not a constraint on what the models write: a reply without a fitting call raises
        ToolChoiceError. A tool that must be called is shown to the models alone.
        """
        check_names(kwargs, (*OPTIONS, *MODEL_NAMES, *_TRACING, "stream"), what="option")
        converted = convert_tools(tools, strict=strict)
        choice = read_tool_choice(tool_choice, converted)
        return self.bind(tools=converted, tool_choice=choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        writing = self._astream(messages, stop, run_manager, **kwargs)
        return generate_from_stream(iter([chunk async for chunk in writing]))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return self._call(messages, stop, run_manager, kwargs).chunks()

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return self._call(messages, stop, run_manager, kwargs).achunks()

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: RunManager | None,
        kwargs: dict[str, Any],
    ) -> Call:
        run = kwargs.pop(RUN, None) or Run(run_manager)
        tools = convert_tools(kwargs.pop("tools", None) or ())
        choice = read_tool_choice(kwargs.pop("tool_choice", None), tools)
        kwargs.pop("stream", None)
        settings = self._with(kwargs)
        request = settings._request(messages, stop, offered(tools, choice))
        return Call(
            settings._engine(),
            request,
            run,
            model_name=settings.model_name,
            tools=tools,
            tool_choice=choice,
        )

    def _with(self, options: dict[str, Any]) -> "SplitReasonLLM":
        """Return this model with some options set anew, checked as the constructor does."""
        check_names(options, (*OPTIONS, *MODEL_NAMES, "tools", "tool_choice"), what="option")
        named = [options.pop(name) for name in MODEL_NAMES if name in options]
        if named:
            options = {**options, **read_pair(named[0])}
        if not options:
            return self
        kept = {name: getattr(self, name) for name in OPTIONS}
        return type(self)(**{**kept, **options})

    def _engine(self) -> SplitEngine:
        policy, timeout = self.policy, self.timeout
        if timeout is not None:
            deadline = timeout if policy.deadline_s is None else min(timeout, policy.deadline_s)
            policy = replace(policy, deadline_s=deadline)
        return SplitEngine(
            small=self.small,
            large=self.large,
            trigger=self.trigger,
            policy=policy,
            close_threshold=self.close_threshold,
            handback_tokens=self.handback_tokens,
            on_large_failure=self.on_large_failure,
        )

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, tools: list[dict[str, Any]]
    ) -> Request:
        stop_at = self.stop if stop is None else stop
        return Request(
            messages=to_chat(messages),
            tools=tools or None,
            sampling=self._sampling(),
            max_tokens=self.max_tokens,
            stop=[stop_at] if isinstance(stop_at, str) else stop_at or (),
            seed=self.seed,
        )

    def _sampling(self) -> Sampling:
        return Sampling(**{name: getattr(self, name) for name in SAMPLING})

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        plain = {
            "small": describe(self.small),
            "large": describe(self.large),
            "trigger": str(self.trigger),
            "policy": asdict(self.policy),
        }
        settings = {name: plain.get(name, getattr(self, name)) for name in OPTIONS}
        return {"model_name": self.model_name, **settings}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider=PROVIDER,
            ls_model_name=str(kwargs.get("model", self.model_name)),
            ls_model_type="chat",
        )
        temperature = kwargs.get("temperature", self.temperature)
        if temperature is not None:
            params["ls_temperature"] = temperature
        max_tokens = kwargs.get("max_tokens", self.max_tokens)
        if max_tokens is not None:
            params["ls_max_tokens"] = max_tokens
        stop_at = stop or self.stop
        if stop_at:
            params["ls_stop"] = [stop_at] if isinstance(stop_at, str) else stop_at
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return profile_of(self.small, self.large)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: models given by name, triggers and policies survive `dumps` and `loads`."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The trigger and the policy as plain data, where they can be."""
        written: dict[str, Any] = {"policy": asdict(self.policy)}
        try:
            if parse_trigger(str(self.trigger)) == self.trigger:
                written["trigger"] = str(self.trigger)
        except ConfigurationError:
            pass
        return written

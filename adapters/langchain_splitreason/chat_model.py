"""The chat model: settings in, LangChain messages out. The engine does the work.

Weights are loaded by the first request, never by the constructor.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableWithFallbacks
from langchain_core.tools import BaseTool

from langchain_splitreason.asked import Asked
from langchain_splitreason.cache_key import cache_key
from langchain_splitreason.call import Call
from langchain_splitreason.counting import CountingChatModel
from langchain_splitreason.errors import recognised
from langchain_splitreason.human import check_handled
from langchain_splitreason.messages import to_chat
from langchain_splitreason.profile import profile_of
from langchain_splitreason.runs import ANSWERED, RUN, Run, RunManager
from langchain_splitreason.schemas import wanted
from langchain_splitreason.structured import (
    StructuredMethod,
    as_tool,
    check_method,
    parsed,
    response_format,
    traced_format,
)
from langchain_splitreason.tools import convert_tools
from splitreason_integrations.backends.registry import PROVIDER, public_name
from splitreason_integrations.checks import check_names
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.loop.segments import Answered
from splitreason_integrations.options import check_replaced
from splitreason_integrations.settings.options import CALL_NAMES, OBJECTS
from splitreason_integrations.text.held_checks import check_calls
from splitreason_integrations.text.tool_checks import check_tools
from splitreason_integrations.text.tool_choice import must_call, offered, read_tool_choice

_TRACING = ("ls_structured_output_format", "structured_output_format")
_OF_A_CALL = ("stream", "response_format", "parallel_tool_calls")


class SplitReasonLLM(CountingChatModel):
    """A chat model: `small` writes, and hands the hard spans to `large` where `trigger` says so.

    `PairSettings` says what can be set; all of it can be given for a single call too:
    `llm.invoke(..., trigger="never", seed=1)`.

    The answer is the message's content; the chain of thought is in
    `additional_kwargs["reasoning_content"]`, who wrote what in `additional_kwargs["authors"]`
    and tokens, spans, time and cost in `response_metadata["splitreason"]`.
    """

    streaming: bool | None = None
    """Whether `invoke` streams to callbacks that want tokens; None leaves it to them."""

    cache_human_checked: bool = False
    """Whether a request with a human check may be answered from LangChain's cache: nobody is asked
    then. Its approved reply is kept for requests with the same check."""

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools to call.

        With `tool_choice` "any", "required" or a tool's name the answer can be nothing but a
        valid call, as the model's family writes calls; a model whose own response template reads
        them in another way is held to it afterwards. A reply cut off before its call raises
        ToolChoiceError. A tool that must be called is shown to the models alone.

        With "none" no call comes out; with `parallel_tool_calls=False` one at most does.

        A call that cannot be made is one of the message's `invalid_tool_calls`, with its reason.
        """
        check_replaced(kwargs)
        check_names(kwargs, (*CALL_NAMES, *_TRACING, *_OF_A_CALL), what="option")
        converted = convert_tools(tools, strict=strict)
        check_tools(converted)
        choice = read_tool_choice(tool_choice, converted)
        if must_call(choice):
            check_calls(offered(converted, choice))
        return self.bind(tools=converted, tool_choice=choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: StructuredMethod = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose output fits a Pydantic class, TypedDict or JSON schema.

        The reasoning is free; behind it the answer is held to the schema while it is written
        (`json_schema`), to a call of a tool with that schema (`function_calling`), or to any JSON
        object (`json_mode`). A property that the schema does not name is never written, `strict`
        or not. What no grammar holds, such as `not`, is checked afterwards: a value that does not
        fit, and an answer cut off by `max_tokens`, are parsing errors that say so.

        Raises:
            RequestError: the schema cannot be used; the error names the part and the remedy.

        """
        found = wanted(schema)
        check_method(method, found)
        traced = traced_format(schema, found, method)
        bound = (
            self.bind_tools(
                [as_tool(found)],
                tool_choice=found.name,
                ls_structured_output_format=traced,
                **kwargs,
            )
            if method == "function_calling"
            else self.bind(
                response_format=response_format(found, method),
                ls_structured_output_format=traced,
                **kwargs,
            )
        )
        return parsed(bound, found, method=method, include_raw=include_raw)

    def with_fallbacks(
        self, fallbacks: Sequence[Runnable[LanguageModelInput, AIMessage]], **kwargs: Any
    ) -> RunnableWithFallbacks[LanguageModelInput, AIMessage]:
        """Return this model with others that answer where it fails, as LangChain does.

        Raises:
            ConfigurationError: the human check interrupts a graph, and that would be handled.

        """
        check_handled(self.human_check, kwargs.get("exceptions_to_handle", (Exception,)))
        return super().with_fallbacks(fallbacks, **kwargs)

    def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with retries of whole replies, as LangChain does.

        Raises:
            ConfigurationError: the human check interrupts a graph, and that would be handled.

        """
        check_handled(self.human_check, kwargs.get("retry_if_exception_type", (Exception,)))
        return super().with_retry(**kwargs)

    def resume(
        self, paused: Paused, answer: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Return the finished message of a paused request; nothing is generated twice.

        `paused` is that of a ReviewPendingError, or of a `ReviewQueue`'s claim; `answer` an
        `Answer`, a decision such as "approve", a truth value or a dict. Messages, tools and
        sampling are those of the request. A further question raises ReviewPendingError again.
        """
        answered = Answered.of(paused, answer)
        return self.invoke(str(answered), config, **{**kwargs, ANSWERED: answered})

    async def aresume(
        self, paused: Paused, answer: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Return the finished message of a paused request, as `resume` does."""
        answered = Answered.of(paused, answer)
        return await self.ainvoke(str(answered), config, **{**kwargs, ANSWERED: answered})

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
        with recognised():
            return self._new_call(messages, stop, run, kwargs)

    def _new_call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run: Run,
        kwargs: dict[str, Any],
    ) -> Call:
        answered: Answered | None = kwargs.pop(ANSWERED, None)
        if answered is not None:
            return self._resumed_call(answered, run, kwargs)
        settings, asked = self._read(kwargs)
        request = settings.request(
            to_chat(messages),
            stop=stop,
            tools=asked.tools,
            tool_choice=asked.tool_choice,
            parallel_calls=asked.parallel_calls,
            response_schema=asked.response_schema,
        )
        return Call(
            settings.engine(),
            request,
            run,
            model_name=settings.model_name,
            tools=asked.tools,
            tool_choice=asked.tool_choice,
        )

    def _read(self, kwargs: dict[str, Any]) -> tuple[Self, Asked]:
        """Return this model with a call's options, and what else the call asks."""
        asked = Asked.taken_from(kwargs)
        kwargs.pop("stream", None)
        return self.with_options(kwargs), asked

    def _resumed_call(self, answered: Answered, run: Run, kwargs: dict[str, Any]) -> Call:
        kwargs.pop("stream", None)
        settings = self.with_options(kwargs)
        return Call(
            settings.engine(),
            answered.request,
            run,
            model_name=settings.model_name,
            tools=answered.tools,
            tool_choice=answered.tool_choice,
            answered=answered,
        )

    def _may_cache(self, **kwargs: Any) -> bool:
        asks = kwargs.get("human_check", self.human_check) is not None
        return super()._may_cache(**kwargs) and (self.cache_human_checked or not asks)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        given = {name: kept for name, kept in kwargs.items() if name not in (RUN, *_TRACING)}
        with recognised():
            options, asked = self._read(given)
            return cache_key(self, options, {"stop": stop, **asdict(asked)})

    def __repr_args__(self) -> Any:
        pair = {"small": public_name(self.small), "large": public_name(self.large)}
        rest = super().__repr_args__()
        hidden = (*pair, "metadata", "profile")
        return [*pair.items(), *(given for given in rest if given[0] not in hidden)]

    @classmethod
    def _with_again(cls, option: str) -> str:
        return f"data = json.loads(text); data['kwargs']['{option}'] = ...; load(data, ...)"

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, **self.plain_options()}

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
        stop_at = stop or kwargs.get("stop_sequences") or self.stop
        if stop_at:
            params["ls_stop"] = [stop_at] if isinstance(stop_at, str) else stop_at
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return profile_of(self.small, self.large, uses_large=self.uses_large)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: whatever has a written form survives `dumps` and `loads`, keys do not."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Options that are objects, as the plain data that they are read from."""
        return self.model_dump(include=set(OBJECTS))

"""The LLM: settings in, LlamaIndex responses out. The engine does the work.

Weights are loaded by the first request, never by the constructor.
"""

import pickle
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from pydantic import BaseModel, model_validator

from llama_index.llms.splitreason.call import Call
from llama_index.llms.splitreason.calling import ToolCallingLLM
from llama_index.llms.splitreason.closing import closes_what_it_begins, noted
from llama_index.llms.splitreason.messages import to_chat
from splitreason_integrations.backends.registry import known_context
from splitreason_integrations.checks import check_flag
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.loop.segments import Answered
from splitreason_integrations.settings.options import PairSettings
from splitreason_integrations.text.tool_choice import (
    Tool,
    read_response_format,
    read_tool_choice,
)

ANSWERED = "splitreason_answered"
"""The private argument that passes a resumed request through LlamaIndex's callbacks."""


class SplitReasonLLM(PairSettings, ToolCallingLLM):
    """An LLM: `small` writes, and hands the hard spans to `large` where `trigger` says so.

    `PairSettings` says what can be set; all of it can be given for a single call too:
    `llm.chat(messages, trigger="never", seed=1)`. `Settings.llm = SplitReasonLLM()` is enough.

    The answer is the message's text, the chain of thought its `ThinkingBlock`. Tokens, spans,
    time and cost are in `raw["splitreason"]`, who wrote what in `raw["authors"]`, and what
    LlamaIndex's token counters read in `raw["usage"]`. `from_dict` and `from_json` read what
    `to_dict` and `to_json` write: all options, and no key of a server.
    """

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the LLM is serialised."""
        return "SplitReasonLLM"

    @model_validator(mode="before")
    @classmethod
    def _read_written(cls, given: Any) -> Any:
        """Leave out the class's name, which LlamaIndex adds to what it writes."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if name != "class_name"}

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex has to know about the pair, as far as known without loading it."""
        return LLMMetadata(
            context_window=known_context(self.small, self.large, uses_large=self.uses_large)
            or DEFAULT_CONTEXT_WINDOW,
            num_output=self.max_tokens or DEFAULT_NUM_OUTPUTS,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model_name,
        )

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the reply."""
        return self._chat(messages, **kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the reply."""
        return await self._achat(messages, **kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Yield the reply as it grows; closing the generator stops both models."""
        return self._stream_chat(messages, **kwargs)

    @closes_what_it_begins
    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Yield the reply as it grows; closing the generator stops both models."""
        return await self._astream_chat(messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return the reply to a prompt, sent as one user message."""
        return chat_to_completion_decorator(self._chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Return the reply to a prompt, sent as one user message."""
        return await achat_to_completion_decorator(self._achat)(prompt, **kwargs)

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Yield the reply to a prompt as it grows."""
        return stream_chat_to_completion_decorator(self._stream_chat)(prompt, **kwargs)

    @closes_what_it_begins
    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Yield the reply to a prompt as it grows."""
        return await astream_chat_to_completion_decorator(self._astream_chat)(prompt, **kwargs)

    @classmethod
    def _with_again(cls, option: str) -> str:
        return f"from_dict(data, {option}=...)"

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickling takes: all options, but no key of a model on a server.

        LlamaIndex's own would drop an option that cannot be pickled, a human check perhaps, from
        the copy and from this LLM too.

        Raises:
            ConfigurationError: an option cannot be pickled.

        """
        state = BaseModel.__getstate__(self)
        kept = {}
        for name, value in state["__dict__"].items():
            try:
                pickle.dumps(value)
            except Exception as error:
                if name in PairSettings.model_fields:
                    raise ConfigurationError(
                        f"{name} cannot be pickled for another process ({error}): name models by "
                        "a text or a description, and define functions at the top of a module"
                    ) from error
            else:
                kept[name] = value
        return {**state, "__dict__": kept}

    def resume(self, paused: Paused, answer: Any, **kwargs: Any) -> ChatResponse:
        """Return the finished response of a paused request; nothing is generated twice.

        `paused` is that of a ReviewPendingError, or of a `ReviewQueue`'s claim; `answer` an
        `Answer`, a decision such as "approve", a truth value or a dict. Messages, tools and
        sampling are those of the request. A further question raises ReviewPendingError again.
        """
        answered = Answered.of(paused, answer)
        response: ChatResponse = self.chat(
            [_answer_message(answered)], **{**kwargs, ANSWERED: answered}
        )
        return response

    async def aresume(self, paused: Paused, answer: Any, **kwargs: Any) -> ChatResponse:
        """Return the finished response of a paused request, as `resume` does."""
        answered = Answered.of(paused, answer)
        messages = [_answer_message(answered)]
        response: ChatResponse = await self.achat(messages, **{**kwargs, ANSWERED: answered})
        return response

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return list(self._call(messages, kwargs).responses())[-1]

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return [one async for one in self._call(messages, kwargs).aresponses()][-1]

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._call(messages, kwargs).responses()

    async def _astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        return noted(self._call(messages, kwargs).aresponses())

    def _call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Call:
        answered: Answered | None = kwargs.pop(ANSWERED, None)
        if answered is not None:
            settings = self.with_options(kwargs)
            return Call(
                settings.engine(),
                answered.request,
                settings.model_name,
                answered.tools,
                answered.tool_choice,
                answered,
            )
        tools: list[Tool] = list(kwargs.pop("tools", None) or ())
        choice = read_tool_choice(kwargs.pop("tool_choice", None), tools)
        parallel = kwargs.pop("parallel_tool_calls", None)
        if parallel is not None:
            check_flag("parallel_tool_calls", parallel)
        schema = read_response_format(kwargs.pop("response_format", None))
        settings = self.with_options(kwargs)
        request = settings.request(
            to_chat(messages),
            tools=tools,
            tool_choice=choice,
            parallel_calls=parallel,
            response_schema=schema,
        )
        return Call(settings.engine(), request, settings.model_name, tools, choice)


def _answer_message(answered: Answered) -> ChatMessage:
    return ChatMessage(role="user", content=str(answered))

"""Structured prediction: the answer is held to the class's schema while it is written."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.streaming_utils import process_streaming_content_incremental
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.class_schemas import class_schema
from splitreason_integrations.text.held_checks import check_holds

M = TypeVar("M", bound=BaseModel)


class StructuredLLM(FunctionCallingLLM):
    """Predicts objects of a Pydantic class from `response_format`, rather than from tool calls."""

    def as_structured_llm(self, output_cls: type[BaseModel], **kwargs: Any) -> Any:
        """Return an LLM whose every answer is an object of the class.

        Raises:
            RequestError: answers cannot be held to the class; the error names the part.

        """
        check_holds(class_schema(output_cls), f"the JSON schema of {output_cls.__name__}")
        return super().as_structured_llm(output_cls, **kwargs)

    def structured_predict(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Return an object of the class; raise RequestError if the answer was cut off."""
        messages, options = self._request_for(output_cls, prompt, llm_kwargs, prompt_args)
        return _whole(self.chat(messages, **options), output_cls)

    async def astructured_predict(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Return an object of the class; raise RequestError if the answer was cut off."""
        messages, options = self._request_for(output_cls, prompt, llm_kwargs, prompt_args)
        return _whole(await self.achat(messages, **options), output_cls)

    def _structured_stream_call(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        messages, options = self._request_for(output_cls, prompt, llm_kwargs, prompt_args)
        growing = response = None
        for response in self.stream_chat(messages, **options):
            growing = process_streaming_content_incremental(response, output_cls, growing)
            yield growing
        if response is not None:
            yield _whole(response, output_cls)

    async def _structured_astream_call(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        messages, options = self._request_for(output_cls, prompt, llm_kwargs, prompt_args)

        async def grow() -> AsyncGenerator[Any, None]:
            growing = response = None
            async for response in await self.astream_chat(messages, **options):
                growing = process_streaming_content_incremental(response, output_cls, growing)
                yield growing
            if response is not None:
                yield _whole(response, output_cls)

        return grow()

    def _request_for(
        self,
        output_cls: type[M],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> tuple[list[Any], dict[str, Any]]:
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        schema = {"name": output_cls.__name__, "schema": class_schema(output_cls)}
        wanted = {"type": "json_schema", "json_schema": schema}
        return messages, {**(llm_kwargs or {}), "response_format": wanted}


def _whole(response: ChatResponse, output_cls: type[M]) -> M:
    reason = response.raw["finish_reason"] if isinstance(response.raw, dict) else "stop"
    if reason != "stop":
        raise RequestError(
            f"the answer is not a whole {output_cls.__name__} (stop_reason {reason!r}): allow more "
            "tokens or time, or bound the class's strings, numbers and lists"
        )
    return output_cls.model_validate_json(response.message.content or "")

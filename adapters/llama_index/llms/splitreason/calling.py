"""Tool calls: how tools are offered, and which calls of a reply LlamaIndex may make.

A call that cannot be made is selected under a name that no tool has, so that nothing runs.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.calling import acall_tool_with_selection, call_tool_with_selection
from llama_index.core.tools.types import BaseTool, ToolOutput

from llama_index.llms.splitreason.structured import StructuredLLM
from splitreason_integrations.errors import ToolChoiceError
from splitreason_integrations.text.class_schemas import class_schema

_SAID_BESIDE = ("title", "description")


class ToolCallingLLM(StructuredLLM):
    """Calls tools, those calls alone that can be made."""

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the calls that a reply asks for.

        A call that cannot be made is named `wipe (not run: its arguments are no JSON object)`: no
        tool has that name, and agents return it to the model as an error.

        Raises:
            ToolChoiceError: there is none, and `error_on_no_tool_call` is set.

        """
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not calls and error_on_no_tool_call:
            raise ToolChoiceError(
                f"a tool call was expected and the reply has none: {response.message.content!r}"
            )
        return [_selection(call, response) for call in calls]

    def predict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        error_on_no_tool_call: bool = True,
        error_on_tool_error: bool = False,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Return what the called tools return; a call that cannot be made returns an error."""
        response = self.chat_with_tools(
            tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, **kwargs
        )
        calls = self.get_tool_calls_from_response(response, error_on_no_tool_call)
        outputs = [
            _refusal(call) or call_tool_with_selection(call, tools, verbose=verbose)
            for call in calls
        ]
        return _answer(response, outputs, raises=error_on_tool_error)

    async def apredict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        error_on_no_tool_call: bool = True,
        error_on_tool_error: bool = False,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Return what the called tools return; a call that cannot be made returns an error."""
        response = await self.achat_with_tools(
            tools, user_msg, chat_history, verbose, allow_parallel_tool_calls, **kwargs
        )
        calls = self.get_tool_calls_from_response(response, error_on_no_tool_call)

        async def output(call: ToolSelection) -> ToolOutput:
            return _refusal(call) or await acall_tool_with_selection(call, tools, verbose=verbose)

        outputs = await asyncio.gather(*map(output, calls))
        return _answer(response, outputs, raises=error_on_tool_error)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or ())
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role="user", content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        choice = kwargs.pop("tool_choice", None) or ("any" if tool_required else "auto")
        converted = [_converted(tool) for tool in tools]
        return {
            "messages": messages,
            "tools": converted,
            "tool_choice": choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }


def _converted(tool: BaseTool) -> dict[str, Any]:
    """Return a tool in OpenAI's format, with its whole schema: LlamaIndex keeps five keywords."""
    metadata = tool.metadata
    converted: dict[str, Any] = metadata.to_openai_tool(skip_length_check=True)
    kept = converted["function"]["parameters"]
    if metadata.fn_schema is not None:
        whole = class_schema(metadata.fn_schema)
        lost = {key: one for key, one in whole.items() if key not in _SAID_BESIDE}
        converted["function"]["parameters"] = {**lost, **kept}
    return converted


class _Refused(ToolSelection):
    """A call that cannot be made."""


def _selection(call: ToolCallBlock, response: ChatResponse) -> ToolSelection:
    number, written = call.tool_call_id or "", call.tool_kwargs
    if isinstance(written, dict):
        return ToolSelection(tool_id=number, tool_name=call.tool_name, tool_kwargs=written)
    raw = response.raw if isinstance(response.raw, dict) else {}
    known = raw.get("splitreason", {}).get("invalid_calls", {})
    found = (why for first, why in known.items() if number.startswith(f"{first}_"))
    name = f"{call.tool_name or 'a call'} (not run: {next(found, 'the call is not valid')})"
    return _Refused(tool_id=number, tool_name=name, tool_kwargs={"text": written})


def _refusal(call: ToolSelection) -> ToolOutput | None:
    """Return the result of a call that cannot be made; None for one that can."""
    if not isinstance(call, _Refused):
        return None
    return ToolOutput(
        content=f"Error: {call.tool_name}",
        tool_name=call.tool_name,
        raw_input=call.tool_kwargs,
        raw_output=None,
        is_error=True,
    )


def _answer(
    response: ChatResponse, outputs: Sequence[ToolOutput], *, raises: bool
) -> AgentChatResponse:
    text = "\n\n".join(output.content for output in outputs)
    if raises and any(output.is_error for output in outputs):
        raise ValueError(text)
    return AgentChatResponse(
        response=text if outputs else response.message.content or "", sources=list(outputs)
    )

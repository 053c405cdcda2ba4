"""Middleware for agents made by LangChain's `create_agent`."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from langchain_splitreason.results import refusal
from splitreason_integrations.errors import MissingExtraError, ToolChoiceError

try:
    from langchain.agents.middleware import (
        AgentMiddleware,
        AgentState,
        ModelRequest,
        ModelResponse,
        hook_config,
    )
except ImportError as error:
    missing = MissingExtraError(
        "langchain_splitreason.agents needs the package langchain: pip install langchain"
    )
    missing.name = error.name
    raise missing from error


class RepeatInvalidCalls(AgentMiddleware[Any, Any, Any]):
    """Answers calls that cannot be made with the reason, and lets the model write again.

    Without it, an agent ends at a reply that has invalid calls alone. Where a call is required, as
    for typed answers by `ToolStrategy`, it ends in a ToolChoiceError.

    Args:
        attempts: Replies without any valid call, one after the other, that are answered.

    """

    def __init__(self, *, attempts: int = 3) -> None:
        super().__init__()
        self._attempts = attempts

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Return a reply with the call that is required; the model reads what was wrong before."""
        for _ in range(self._attempts):
            try:
                return handler(request)
            except ToolChoiceError as error:
                request = _with_reason(request, error)
        return handler(request)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Return a reply with the call that is required, as `wrap_model_call` does."""
        for _ in range(self._attempts):
            try:
                return await handler(request)
            except ToolChoiceError as error:
                request = _with_reason(request, error)
        return await handler(request)

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        """Return an error for each invalid call of the last message, and where to go on."""
        messages = state["messages"]
        last = messages[-1]
        if not isinstance(last, AIMessage) or not last.invalid_tool_calls:
            return None
        errors = [
            ToolMessage(
                refusal(last, call),
                tool_call_id=call["id"] or "",
                name=call["name"] or "unknown",
                status="error",
            )
            for call in last.invalid_tool_calls
        ]
        if last.tool_calls:
            return {"messages": errors}
        if _failures(messages) > self._attempts:
            return None
        return {"messages": errors, "jump_to": "model"}


def _with_reason(request: ModelRequest[Any], error: ToolChoiceError) -> ModelRequest[Any]:
    """Return a request that goes on with why the call that is required was not made."""
    reason = HumanMessage(f"Error: a call of a tool is required; the reply has: {error.found}")
    return request.override(messages=[*request.messages, reason])


def _failures(messages: list[AnyMessage]) -> int:
    """Return how many replies at the end of a conversation have invalid calls alone."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            if message.tool_calls or not message.invalid_tool_calls:
                break
            count += 1
        elif not isinstance(message, ToolMessage):
            break
    return count

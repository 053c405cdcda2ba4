"""Middleware for agents made by LangChain's `create_agent`."""

from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from langchain_splitreason.results import refusal
from splitreason_integrations.errors import MissingExtraError

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
except ImportError as error:
    missing = MissingExtraError(
        "langchain_splitreason.agents needs the package langchain: pip install langchain"
    )
    missing.name = error.name
    raise missing from error


class RepeatInvalidCalls(AgentMiddleware[Any, Any, Any]):
    """Answers calls that cannot be made with the reason, and lets the model write again.

    Without it, an agent ends at a reply that has invalid calls alone.

    Args:
        attempts: Replies without any valid call, one after the other, that are answered.

    """

    def __init__(self, *, attempts: int = 3) -> None:
        super().__init__()
        self._attempts = attempts

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

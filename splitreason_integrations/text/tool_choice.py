"""The form a reply is asked for: which tools may or must be called, or which JSON schema it fits.

Tools are in OpenAI's format: `{"type": "function", "function": {"name": ..., ...}}`.
"""

from collections.abc import Sequence
from typing import Any

from splitreason_integrations.errors import ConfigurationError, ToolChoiceError
from splitreason_integrations.records import Completion

Tool = dict[str, Any]


def tool_names(tools: Sequence[Tool]) -> list[str]:
    """Return the names of tools in OpenAI's format."""
    return [tool["function"]["name"] for tool in tools]


def read_tool_choice(choice: Any, tools: Sequence[Tool]) -> str:
    """Return `auto`, `none`, `any` or the name of a tool; raise ConfigurationError for others."""
    if isinstance(choice, dict):
        function = choice.get("function")
        named = function if isinstance(function, dict) else choice
        choice = named.get("name") or choice.get("type")
    if choice is None or choice is False:
        return "auto"
    if choice is True or choice == "required":
        return "any"
    names = tool_names(tools)
    if choice in ("auto", "none", "any") or choice in names:
        return str(choice)
    raise ConfigurationError(
        f"tool_choice {choice!r}: use 'auto', 'none', 'any', 'required' or the name of a tool "
        f"({', '.join(names) or 'there are none'})"
    )


def offered(tools: Sequence[Tool], choice: str) -> list[Tool]:
    """Return the tools to show to the models: one that must be called is shown alone."""
    if choice == "none":
        return []
    if choice in ("auto", "any"):
        return list(tools)
    return [tool for tool in tools if tool["function"]["name"] == choice]


def most_calls(choice: str, *, parallel: bool | None) -> int | None:
    """Return how many calls a reply may have; None for any number."""
    if choice == "none":
        return 0
    return 1 if parallel is False else None


def must_call(choice: str) -> bool:
    """Return whether a reply has to be a tool call."""
    return choice not in ("auto", "none")


def read_response_format(value: Any) -> dict[str, Any] | None:
    """Return the JSON schema that OpenAI's `response_format` asks for; None for free text."""
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    schema = value.get("json_schema", {}).get("schema") if kind == "json_schema" else None
    if not isinstance(schema, dict):
        raise ConfigurationError(
            f"response_format {value!r}: use {{'type': 'json_schema', 'json_schema': "
            "{'name': ..., 'schema': ...}}, {'type': 'json_object'} or {'type': 'text'}"
        )
    return schema


def check_choice(choice: str, tools: Sequence[Tool], completion: Completion) -> None:
    """Raise ToolChoiceError where a call was required and the reply has none that fits."""
    if not must_call(choice):
        return
    wanted = tool_names(offered(tools, choice))
    made = [call for call in completion.tool_calls if call.arguments is not None]
    if any(call.name in wanted for call in made):
        return
    calls = [
        f"{call.name or 'a broken call'}{f' ({call.error})' if call.error else ''}"
        for call in completion.tool_calls
    ]
    found = ", ".join(calls) or "none"
    raise ToolChoiceError(
        f"tool_choice requires a call of {' or '.join(wanted)}; the reply has {found} "
        f"(stop_reason {completion.stop_reason!r}): allow more tokens, use a model that calls "
        "tools reliably, or set tool_choice='auto'",
        found=found,
    )

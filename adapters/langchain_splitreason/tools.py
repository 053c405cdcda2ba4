"""Tools as the chat template takes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.text.tool_choice import Tool

_FUNCTIONS = frozenset({None, "function", "object"})
"""Types of dicts that describe a function: OpenAI's, and a JSON schema's."""
_OF_A_FUNCTION = ("name", "description", "parameters", "strict")


def convert_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[Tool]:
    """Return functions, classes, schemas and LangChain tools in OpenAI's format.

    Raises ConfigurationError for a tool that another provider runs itself, and for what is none.
    """
    return [_converted(at, tool, strict=strict) for at, tool in enumerate(tools)]


def _converted(at: int, tool: Any, *, strict: bool | None) -> Tool:
    is_schema = isinstance(tool, Mapping) and "input_schema" in tool
    if isinstance(tool, Mapping) and not is_schema and tool.get("type") not in _FUNCTIONS:
        raise _no_function(at, tool)
    try:
        converted = convert_to_openai_tool(tool, strict=strict)
    except (ValueError, TypeError) as error:
        raise _no_function(at, tool, str(error)) from error
    if converted.get("type") == "function" and "function" not in converted:
        flat = {name: converted[name] for name in _OF_A_FUNCTION if name in converted}
        converted = {"type": "function", "function": flat}
    function = converted.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _no_function(at, tool)
    return converted


def _no_function(at: int, tool: Any, reason: str = "") -> ConfigurationError:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    said = f"is of type {kind!r}, which its provider runs itself" if kind else "is no function"
    return ConfigurationError(
        f"tool {at} {said}; this chat model calls functions: give a Python function, a LangChain "
        f"tool, a class or a JSON schema with a title{f' ({reason})' if reason else ''}"
    )

"""Tools as the chat template takes them."""

from collections.abc import Mapping, Sequence
from inspect import isroutine
from typing import Any, is_typeddict

from langchain_core.tools import BaseTool
from langchain_core.tools.base import create_schema_from_function
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_splitreason.schemas import wanted
from langchain_splitreason.structured import as_tool
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.text.class_schemas import class_schema
from splitreason_integrations.text.schemas import without_titles
from splitreason_integrations.text.tool_choice import Tool

_FUNCTIONS = frozenset({None, "function", "object"})
"""Types of dicts that describe a function: OpenAI's, and a JSON schema's."""
_OF_A_FUNCTION = ("name", "description", "parameters", "strict")


def convert_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[Tool]:
    """Return functions, classes, schemas and LangChain tools in OpenAI's format.

    Their schemas are whole: with references, and with all keywords at the top.

    Raises ConfigurationError for a tool that another provider runs itself, and for what is none.
    """
    said = {} if strict is None else {"strict": strict}
    converted = [_converted(at, tool) for at, tool in enumerate(tools)]
    return [{**tool, "function": {**tool["function"], **said}} for tool in converted]


def _converted(at: int, tool: Any) -> Tool:
    is_schema = isinstance(tool, Mapping) and "input_schema" in tool
    if isinstance(tool, Mapping) and not is_schema and tool.get("type") not in _FUNCTIONS:
        raise _no_function(at, tool)
    if is_typeddict(tool) or (isinstance(tool, Mapping) and _is_schema(tool)):
        return as_tool(wanted(tool))
    try:
        converted = convert_to_openai_tool(tool)
    except (ValueError, TypeError) as error:
        raise _no_function(at, tool, str(error)) from error
    if converted.get("type") == "function" and "function" not in converted:
        flat = {name: converted[name] for name in _OF_A_FUNCTION if name in converted}
        converted = {"type": "function", "function": flat}
    function = converted.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _no_function(at, tool)
    whole = _whole_schema(tool)
    if whole is None:
        return converted
    parameters = without_titles(whole)
    parameters.pop("description", None)
    return {**converted, "function": {**function, "parameters": parameters}}


def _is_schema(tool: Mapping[str, Any]) -> bool:
    """Return whether a dict is a JSON schema with a title, and no tool in a format of its own."""
    return "title" in tool and not {"name", "function", "toolSpec"} & tool.keys()


def _whole_schema(tool: Any) -> dict[str, Any] | None:
    """Return the schema of a tool's arguments, as it is; None where it is in the tool already."""
    kind: Any = tool
    if isinstance(tool, BaseTool):
        kind = tool.tool_call_schema
        if isinstance(kind, dict):
            return kind
    elif isroutine(tool):
        kind = create_schema_from_function(
            tool.__name__,
            tool,
            filter_args=(),
            parse_docstring=True,
            error_on_invalid_docstring=False,
            include_injected=False,
        )
    is_class = isinstance(kind, type) and issubclass(kind, BaseModel)
    return class_schema(kind) if is_class else None


def _no_function(at: int, tool: Any, reason: str = "") -> ConfigurationError:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    said = f"is of type {kind!r}, which its provider runs itself" if kind else "is no function"
    return ConfigurationError(
        f"tool {at} {said}; this chat model calls functions: give a Python function, a LangChain "
        f"tool, a class or a JSON schema with a title{f' ({reason})' if reason else ''}"
    )

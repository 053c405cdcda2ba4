"""Tools as the chat template takes them."""

from collections.abc import Sequence
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from splitreason_integrations.text.tool_choice import Tool


def convert_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[Tool]:
    """Return functions, classes, schemas and LangChain tools in OpenAI's format."""
    return [convert_to_openai_tool(tool, strict=strict) for tool in tools]

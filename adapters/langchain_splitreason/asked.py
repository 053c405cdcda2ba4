"""What one call asks of its reply beside the options of the pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from langchain_splitreason.tools import convert_tools
from splitreason_integrations.checks import check_flag
from splitreason_integrations.text.tool_choice import Tool, read_response_format, read_tool_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The tools of a call, and the form that its answer is held to.

    Attributes:
        tools: what may be called, in OpenAI's format.
        tool_choice: `auto`, `none`, `any` or the name of a tool.
        parallel_calls: whether a reply may have several calls; None as True.
        response_schema: the JSON schema that the answer has to fit; None for free text.

    """

    tools: Sequence[Tool] = ()
    tool_choice: str = "auto"
    parallel_calls: bool | None = None
    response_schema: dict[str, Any] | None = None

    @classmethod
    def taken_from(cls, kwargs: dict[str, Any]) -> Self:
        """Take a call's own arguments out of `kwargs`; options of the pair are left.

        Raises ConfigurationError for tools, choices and formats that cannot be used.
        """
        tools = convert_tools(kwargs.pop("tools", None) or ())
        parallel = kwargs.pop("parallel_tool_calls", None)
        if parallel is not None:
            check_flag("parallel_tool_calls", parallel)
        return cls(
            tools=tools,
            tool_choice=read_tool_choice(kwargs.pop("tool_choice", None), tools),
            parallel_calls=parallel,
            response_schema=read_response_format(kwargs.pop("response_format", None)),
        )

"""Structured output: the format to request, and the parsing of the reply."""

import json
from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_splitreason.schemas import Wanted
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.text.held_checks import check_holds, check_holds_object
from splitreason_integrations.text.schemas import without_titles

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]

_METHODS = ("json_schema", "function_calling", "json_mode")
_LONGEST_SHOWN = 500


def check_method(method: str, wanted: Wanted) -> None:
    """Raise where an answer cannot be held to a schema by a method.

    Raises:
        ConfigurationError: the method is not known.
        RequestError: the schema cannot be used; the error names the part.

    """
    if method not in _METHODS:
        raise ConfigurationError(
            f"method {method!r}: use 'json_schema', 'function_calling' or 'json_mode'"
        )
    what = f"the JSON schema {wanted.name!r}"
    if method == "json_schema":
        check_holds(wanted.schema, what)
    elif method == "function_calling":
        check_holds_object(wanted.schema, what)


def response_format(wanted: Wanted, method: str) -> dict[str, Any]:
    """Return the `response_format` of a method that is no call."""
    if method == "json_mode":
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema}
    return {"type": "json_schema", "json_schema": schema}


def traced_format(schema: dict[str, Any] | type, wanted: Wanted, method: str) -> dict[str, Any]:
    """Return what traces say of the form of an answer: the schema as LangChain shows it."""
    try:
        shown = convert_to_json_schema(schema)
    except (ValueError, TypeError, LookupError, RuntimeError):
        shown = {"title": wanted.name, **wanted.schema}  # LangChain does not take every schema
    return {"kwargs": {"method": method}, "schema": shown}


def as_tool(wanted: Wanted) -> dict[str, Any]:
    """Return the tool whose arguments are what is wanted."""
    described = {"description": wanted.description} if wanted.description else {}
    parameters = without_titles(wanted.schema)
    parameters.pop("description", None)
    function = {"name": wanted.name, **described, "parameters": parameters}
    return {"type": "function", "function": function}


def parsed(
    model: Runnable[LanguageModelInput, AIMessage],
    wanted: Wanted,
    *,
    method: str,
    include_raw: bool,
) -> Runnable[LanguageModelInput, Any]:
    """Return a runnable that parses the model's answers, with the raw messages if asked for."""
    find = _arguments if method == "function_calling" else _content

    def parse(message: AIMessage) -> Any:
        return _read(find(message), wanted)

    parser: Runnable[AIMessage, Any] = RunnableLambda(parse)
    if not include_raw:
        return model | parser
    kept = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | kept.with_fallbacks([failed], exception_key="parsing_error")


def _content(message: AIMessage) -> str:
    reason = message.response_metadata.get("splitreason", {}).get("stop_reason", "stop")
    if reason != "stop":
        raise OutputParserException(
            f"the answer is not whole (stop_reason {reason!r}): allow more tokens or time, "
            "or bound the schema's strings, numbers and lists",
            llm_output=str(message.content),
        )
    return str(message.content)


def _arguments(message: AIMessage) -> str:
    if not message.tool_calls:
        raise OutputParserException(
            "the reply has no call that fits the schema", llm_output=str(message.content)
        )
    return json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)


def _read(text: str, wanted: Wanted) -> Any:
    try:
        return wanted.read(text)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} …"
        raise OutputParserException(
            f"Failed to parse {wanted.name} from completion {shown}. Got: {error}", llm_output=text
        ) from error

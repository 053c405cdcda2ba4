"""Structured output: the format to request, and the parsing of the reply."""

from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass

from splitreason_integrations.errors import ConfigurationError

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]


def response_format(
    schema: dict[str, Any] | type, method: str, *, strict: bool | None
) -> dict[str, Any]:
    """Return the `response_format` of a method; raise ConfigurationError for unknown methods."""
    if method == "json_mode":
        return {"type": "json_object"}
    if method != "json_schema":
        raise ConfigurationError(
            f"method {method!r}: use 'json_schema', 'function_calling' or 'json_mode'"
        )
    converted = convert_to_json_schema(schema, strict=strict)
    name = converted.get("title", "answer")
    return {"type": "json_schema", "json_schema": {"name": name, "schema": converted}}


def parsed(
    model: Runnable[LanguageModelInput, AIMessage],
    schema: dict[str, Any] | type,
    *,
    include_raw: bool,
) -> Runnable[LanguageModelInput, Any]:
    """Return a runnable that parses the model's answers, with the raw messages if asked for."""
    parser: Any = (
        PydanticOutputParser(pydantic_object=schema)
        if isinstance(schema, type) and is_basemodel_subclass(schema)
        else JsonOutputParser()
    )
    parse: Runnable[AIMessage, Any] = RunnableLambda(_check_whole) | parser
    if not include_raw:
        return model | parse
    kept = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parse, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | kept.with_fallbacks([failed], exception_key="parsing_error")


def _check_whole(message: AIMessage) -> AIMessage:
    reason = message.response_metadata.get("splitreason", {}).get("stop_reason", "stop")
    if reason != "stop":
        raise OutputParserException(
            f"the answer is not whole (stop_reason {reason!r}): allow more tokens or time, "
            "or bound the schema's strings, numbers and lists",
            llm_output=str(message.content),
        )
    return message

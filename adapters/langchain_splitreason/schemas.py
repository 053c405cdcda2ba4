"""Schemas as LangChain's users give them → whole JSON schemas, and what reads their values."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from inspect import getdoc, isroutine
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import typing_extensions
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field, TypeAdapter
from pydantic.v1 import BaseModel as BaseModelV1

from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.class_schemas import class_schema, written
from splitreason_integrations.text.schemas import misfit, schema_text, validator

_NAMELESS = "answer"
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]+")
_PARAMETERS = ("parameters", "input_schema", "schema")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer, or the arguments of a call, has to be.

    Attributes:
        name: what it is called.
        description: what it is for; empty where nothing says.
        schema: its JSON schema, whole.
        read: returns the value of its JSON; raises ValueError where that does not fit.

    """

    name: str
    description: str
    schema: dict[str, Any]
    read: Callable[[str], Any]


def wanted(schema: Any) -> Wanted:
    """Return what a Pydantic class, TypedDict, dataclass, other type or JSON schema asks for.

    Raises:
        RequestError: the type has no JSON schema.

    """
    if isinstance(schema, Mapping):
        return _of_mapping(schema)
    if isinstance(schema, BaseTool) or isroutine(schema):
        function = convert_to_openai_tool(schema)["function"]
        return _of_mapping({**function, "parameters": function.get("parameters", {})})
    name = _NO_NAME.sub("_", getattr(schema, "__name__", _NAMELESS)).strip("_")
    if isinstance(schema, type) and issubclass(schema, BaseModelV1):
        found = written(schema.schema, schema)
        return Wanted(name, found.get("description", ""), found, schema.parse_raw)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        found = class_schema(schema)
        return Wanted(name, found.get("description", ""), found, schema.model_validate_json)
    described = getdoc(schema) or "" if isinstance(schema, type) else ""
    kind = _typed_dict(schema) if is_typeddict(schema) else schema
    found = {**class_schema(kind)}
    if is_typeddict(schema):
        found["title"] = name
        if described:
            found["description"] = described
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def read(text: str) -> Any:
        value = adapter.validate_json(text)
        return json.loads(text) if is_typeddict(schema) or is_dataclass(schema) else value

    return Wanted(name, found.get("description", ""), found, read)


def _of_mapping(given: Mapping[str, Any]) -> Wanted:
    """Return what a JSON schema asks for, or a tool or format that has one."""
    inner: Any = next(
        (given[key] for key in ("json_schema", "function", "toolSpec") if key in given), {}
    )
    named = inner if isinstance(inner, Mapping) and "name" in inner else given
    key = next((key for key in _PARAMETERS if "name" in named and key in named), None)
    schema = named if key is None else named[key]
    if isinstance(schema, Mapping) and isinstance(schema.get("json"), Mapping):
        schema = schema["json"]
    if not isinstance(schema, Mapping):
        raise RequestError(f"a schema must be a type or a JSON schema, got {schema!r:.80}")
    name = named.get("name") if key else schema.get("title")
    name = _NO_NAME.sub("_", name if isinstance(name, str) else "").strip("_") or _NAMELESS
    described = named.get("description") or schema.get("description") or ""
    text = schema_text(schema, f"the JSON schema {name!r}")

    def read(written: str) -> Any:
        value = json.loads(written)
        found = misfit(validator(text), value)
        if found:
            raise ValueError(found)
        return value

    return Wanted(name, str(described), dict(schema), read)


def _typed_dict(kind: Any, around: tuple[Any, ...] = ()) -> Any:
    """Return a TypedDict that Pydantic takes from any Python, with LangChain's annotations read.

    `Annotated[str, ..., "text"]` describes a key, and with a default it may be left out.
    """
    if is_typeddict(kind) and kind not in around:
        hints = get_type_hints(kind, include_extras=True)
        keys = {
            name: _typed_key(hint, name in kind.__required_keys__, (*around, kind))
            for name, hint in hints.items()
        }
        made: Any = typing_extensions.TypedDict
        return made(kind.__name__, keys)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is None or origin is Literal or not inner:
        return kind
    typed = tuple(_typed_dict(one, around) for one in inner)
    return Union[typed] if origin in (Union, UnionType) else origin[typed]  # noqa: UP007


def _typed_key(hint: Any, required: bool, around: tuple[Any, ...]) -> Any:
    while get_origin(hint) in (typing_extensions.Required, typing_extensions.NotRequired):
        hint = get_args(hint)[0]
    kind, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    kind = _typed_dict(kind, around)
    if more and (more[0] is ... or (len(more) == 2 and isinstance(more[1], str))):
        required = required and more[0] in (..., None)
        extra = {} if more[0] in (..., None) else {"default": more[0]}
        described = more[1] if len(more) > 1 else None
        more = [Field(description=described, json_schema_extra=extra)]
    typed = Annotated[(kind, *more)] if more else kind
    return typed if required else typing_extensions.NotRequired[typed]

"""Python's types → their JSON schemas, as Pydantic writes them."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from splitreason_integrations.errors import RequestError

_DECIMAL = r"^[+-]?(\d+\.?\d*|\.\d+)$"


class _Written(GenerateJsonSchema):
    """Pydantic's own schemas; the text of a decimal number is one."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().decimal_schema(schema)
        for one in found.get("anyOf", ()):
            if one.get("type") == "string":
                one.setdefault("pattern", _DECIMAL)
        return found


def class_schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a Pydantic class, or of any type that Pydantic knows.

    Raises:
        RequestError: a part of it has no JSON schema.

    """
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return written(lambda: kind.model_json_schema(schema_generator=_Written), kind)
    return written(lambda: TypeAdapter(kind).json_schema(schema_generator=_Written), kind)


def written(write: Callable[[], dict[str, Any]], kind: Any) -> dict[str, Any]:
    """Return the schema that `write` returns; raise RequestError where a type has none."""
    try:
        return write()
    except (PydanticUserError, NameError, TypeError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise RequestError(
            f"{name} has no JSON schema: {str(error).splitlines()[0]}; give that part a type of "
            "JSON, such as str or dict, or a schema with pydantic.WithJsonSchema"
        ) from error

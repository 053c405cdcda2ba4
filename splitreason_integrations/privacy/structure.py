"""Plain data as rules read them: which words are of a conversation's form, which values named."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from splitreason_integrations.privacy.names import is_secret_name

FORM_WORDS = (
    "role content name tool_calls tool_call_id reasoning_content id type function arguments "
    "parameters description properties required items enum default additionalProperties title "
    "anyOf oneOf allOf format system user assistant tool string number integer boolean object "
    "array null"
)
FORM = frozenset(FORM_WORDS.split())
"""Words of a conversation's format: not private, and chat templates look for them."""
_NAMING = ("name", "key", "header", "field", "label", "k", "id", "variable")
_VALUES = ("value", "val", "v", "content", "data", "text", "secret")
_INNER = frozenset({"value", "default", "const", "example", "examples", "enum", "values"})
"""What has the name of the mapping around it."""


def children(value: Any, under: str | None = None) -> Iterator[tuple[Any, Any, str | None]]:
    """Yield the place, the value and the secret name of each part of a mapping or a list.

    `under` is the name of the whole; that of a part is None unless it says that it is secret.
    """
    if isinstance(value, Mapping):
        named = _named_value(value)
        for name, one in value.items():
            if isinstance(name, str) and is_secret_name(name):
                yield name, one, name
            elif name in _VALUES and named is not None:
                yield name, one, named
            else:
                is_jar = under is not None and "cookie" in under.lower()
                yield name, one, under if is_jar or name in _INNER else None
        return
    first = value[0] if isinstance(value, Sequence) and len(value) == 2 else None
    for at, one in enumerate(value):
        is_pair = at == 1 and isinstance(first, str) and is_secret_name(first)
        yield at, one, first if is_pair and _has_digit(one) else under


def parsed(text: str) -> list[Any]:
    """Return the data that a text is as JSON: one mapping or list, or none."""
    begun = text.lstrip()[:1]
    if begun not in ("{", "[", '"'):
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [] if isinstance(data, str) and len(data) < 2 else [data]


def is_form(value: Any) -> bool:
    """Return whether a value is of a conversation's form."""
    return value in FORM if isinstance(value, str) else is_list(value) and all(map(is_form, value))


def is_list(value: Any) -> bool:
    """Return whether a value is a list, or something like it."""
    return isinstance(value, Sequence | Set) and not isinstance(value, str | bytes)


def is_number(value: Any) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named_value(value: Mapping[Any, Any]) -> str | None:
    """Return the secret name that a mapping such as `{"name": ..., "value": ...}` gives."""
    for naming in _NAMING:
        name = value.get(naming)
        if isinstance(name, str) and len(name) <= 64 and is_secret_name(name):
            return name
    return None


def _has_digit(value: Any) -> bool:
    return is_number(value) or (isinstance(value, str) and any(map(str.isdigit, value)))

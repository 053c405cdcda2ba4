"""Which names hold secrets, and what is shown of a value that has such names in it."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

HIDDEN = "***"
"""What is shown in place of a secret."""

_SECRET = re.compile(
    r"(?i:(.*[_-])?(api)?(key|token|password|passphrase|secret|authorization|credentials?))"
    r"|.*[a-z](Key|Token|Password|Passphrase|Secret|Credentials?)"
)
"""Names of what lets a model be called: fields of its description, and entries in them."""
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_PARAMETER = re.compile(r"(?<=[?&])([\w.-]+)=[^&#\s]+")


def is_secret(name: str) -> bool:
    """Return whether a field or an entry of this name lets a model be called, such as a key."""
    return _SECRET.fullmatch(name) is not None


def without_credentials(text: str) -> str:
    """Return a text without the user, password and keys of an address in it."""
    return _PARAMETER.sub(_shown_parameter, _CREDENTIALS.sub("//", text))


def _shown_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if is_secret(found[1]) else found[0]


def shown(value: Any, name: str = "") -> Any:
    """Return plain data as it may be shown: `***` for what has a secret's name, at any depth.

    Args:
        value: The value; other objects are returned as they are.
        name: The name that it has, if it has one.

    """
    if value is not None and is_secret(name):
        return HIDDEN
    match value:
        case str():
            return without_credentials(value)
        case Mapping():
            return {key: shown(one, str(key)) for key, one in value.items()}
        case list() | tuple() if type(value) in (list, tuple):
            return type(value)(shown(one) for one in value)
    return value


def shown_fields(value: Any) -> str:
    """Return what `repr` says of a dataclass, without what `shown` hides."""
    given = ((one.name, getattr(value, one.name)) for one in fields(value) if one.repr)
    parts = ", ".join(f"{name}={shown(one, name)!r}" for name, one in given)
    return f"{type(value).__qualname__}({parts})"

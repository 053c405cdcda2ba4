"""Options as plain data, which the same options take again.

A key is never written. What has no written form, such as a function or a loaded model, is named
with an identity of its own: two of them never look the same, and reading one asks for it again.
"""

import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from os import PathLike, fspath
from typing import Any

from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.backends.openai_server.spec import ServerLimits
from splitreason_integrations.backends.registry import public_name
from splitreason_integrations.checks import check_names
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import REVIEWERS
from splitreason_integrations.privacy.secret_names import is_secret, without_credentials

NOT_WRITTEN = "not_written"
"""Key of what has no written form; its value says what that was."""

_PARTS = (Prices, ServerLimits, AskRule)
"""Dataclasses inside of others: a field's default or its type says which one it is."""

_identities: dict[int, tuple[Any, str]] = {}
"""By `id`: what keeps the number from being used again, and the identity."""


def as_data(value: Any) -> Any:
    """Return a value as plain data."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return as_data(value.value)
        case str():
            return str(value)
        case PathLike():
            return fspath(value)
        case Mapping():
            return {str(name): as_data(one) for name, one in value.items()}
        case list() | tuple():
            return [as_data(one) for one in value]
        case _ if isinstance(value, _PARTS):
            return fields_as_data(value)
        case ModelDescription() if _kinds().get(type(value).__name__) is type(value):
            return {"type": type(value).__name__, **_without_secrets(fields_as_data(value))}
        case _ if type(value) in REVIEWERS.values():
            return {"type": type(value).__name__, **_reviewer_fields(value)}
    return {NOT_WRITTEN: _said(value), "id": identity(value)}


def fields_as_data(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are not at their default and may be shown."""
    return {
        one.name: as_data(given)
        for one in fields(value)
        if one.repr and (given := getattr(value, one.name)) != _default(one)
    }


def rule_as_data(rule: Any, parse: Callable[[str], Any]) -> Any:
    """Return a trigger or a close rule as text, where `parse` makes the same one of that."""
    if rule is None:
        return None
    try:
        is_same = parse(str(rule)) == rule
    except ConfigurationError:
        is_same = False
    return str(rule) if is_same else as_data(rule)


def check_written(name: str, data: Any, *, again: str) -> None:
    """Refuse plain data in which something is only named.

    Args:
        name: the option that the data is of.
        data: the data.
        again: how the option is given again, as the error says it.

    Raises:
        ConfigurationError: something has no written form; the error says what to give again.

    """
    for said in _unwritten(data):
        raise ConfigurationError(
            f"{name} held {said}, which has no written form: give {name} again, as in {again}"
        )


def model_from_data(data: Mapping[str, Any]) -> ModelDescription:
    """Return the description of a model that `as_data` wrote; it has no key.

    Raises:
        ConfigurationError: no imported class has the name `type`, or a field is not one of its.

    """
    model: ModelDescription = _made(_kinds(), data, what="model")
    return model


def reviewer_from_data(data: Any) -> Any:
    """Return the reviewer that `as_data` wrote; another reviewer or function passes."""
    return _made(REVIEWERS, data, what="reviewer") if isinstance(data, Mapping) else data


def identity(value: Any) -> str:
    """Return what tells an object from all others, of this process and of any other."""
    known = _identities.get(id(value))
    if known is not None:
        return known[1]
    key = id(value)
    try:
        kept: Any = weakref.ref(value, lambda _: _identities.pop(key, None))
    except TypeError:
        kept = value
    return _identities.setdefault(key, (kept, uuid.uuid4().hex))[1]


def _said(value: Any) -> str:
    if hasattr(value, "open_sessions"):
        return f"the loaded model {public_name(value)}"
    name = getattr(value, "__qualname__", None)
    return f"an object of type {type(value).__name__}" if name is None else f"the function {name}"


def _without_secrets(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_secrets(one) for one in data]
    if isinstance(data, str):
        return without_credentials(data)
    if not isinstance(data, Mapping):
        return data
    return {name: _without_secrets(one) for name, one in data.items() if not is_secret(name)}


def _reviewer_fields(value: Any) -> dict[str, Any]:
    return fields_as_data(value) if is_dataclass(value) else {}


def _unwritten(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        if NOT_WRITTEN in data:
            yield str(data[NOT_WRITTEN])
        data = list(data.values())
    if isinstance(data, list | tuple):
        for one in data:
            yield from _unwritten(one)


def _made(kinds: Mapping[str, Callable[..., Any]], data: Mapping[str, Any], *, what: str) -> Any:
    kind = kinds.get(str(data.get("type")))
    if kind is None:
        raise ConfigurationError(
            f"a {what} as plain data needs a type, one of {', '.join(sorted(kinds))}, got "
            f"{data.get('type')!r}; import the module that defines another one first"
        )
    known = {one.name: one for one in fields(kind)} if is_dataclass(kind) else {}
    given = {name: one for name, one in data.items() if name != "type"}
    check_names(given, known, what=f"field of {data['type']}")
    try:
        return kind(**{name: _read(known[name], one) for name, one in given.items()})
    except TypeError as error:
        raise ConfigurationError(
            f"the {what} {data['type']} is not whole as plain data ({error}): give it again"
        ) from error


def _read(one: Field[Any], data: Any) -> Any:
    default = _default(one)
    return type(default)(**data) if isinstance(default, _PARTS) else data


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _kinds() -> dict[str, Any]:
    """Return the dataclasses that describe models, as far as they are imported, by their names."""
    return {name: kind for name, kind in _heirs(ModelDescription) if is_dataclass(kind)}


def _heirs(kind: Any) -> Iterator[tuple[str, Any]]:
    for heir in kind.__subclasses__():
        yield heir.__name__, heir
        yield from _heirs(heir)

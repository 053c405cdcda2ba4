"""An engine's and a request's settings as plain data, and back."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from splitreason_integrations.audit.plain_data import plain
from splitreason_integrations.audit.privacy import measure
from splitreason_integrations.backends.registry import public_name
from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.errors import AuditError

_R = TypeVar("_R", bound=Trigger | CloseRule)
_CALLED: dict[type, str] = {Trigger: "trigger", CloseRule: "close rule"}
_MODELS = ("small", "large")
_WATCHERS = ("audit", "telemetry", "pause_key")
"""Settings that change nothing about a reply."""
_OPEN = frozenset(
    {"must_call", "max_calls", "sampling", "max_tokens", "seed", "metadata", "show_schema"}
)
"""Fields of a request that hold no content."""


def settings_of(engine: Any) -> dict[str, Any]:
    """Return the settings of an engine, a dataclass: models by name, trigger and caps as data."""
    given = {field.name: getattr(engine, field.name) for field in fields(engine)}
    for name in _WATCHERS:
        given.pop(name, None)
    return {
        name: _model_names(value) if name in _MODELS else _setting(value)
        for name, value in given.items()
    }


def settings_of_request(request: Any, *, content: bool) -> dict[str, Any]:
    """Return the settings of a request, a dataclass; the messages' measure without `content`."""
    given = {field.name: plain(getattr(request, field.name)) for field in fields(request)}
    given.pop("request_id")
    if content:
        return given
    kept = {name: value for name, value in given.items() if name in _OPEN}
    messages = json.dumps(given["messages"], sort_keys=True)
    return {**kept, "messages": {"count": len(given["messages"]), **measure(messages)}}


def rule_data(rule: Trigger | CloseRule) -> dict[str, Any]:
    """Return a trigger or a close rule as plain data that `rule_from` reads."""
    values = {field.name: getattr(rule, field.name) for field in _fields_of(rule)}
    data = {
        name: rule_data(value) if isinstance(value, Trigger | CloseRule) else plain(value)
        for name, value in values.items()
    }
    return {"type": type(rule).__name__, **data}


def rule_from(data: Mapping[str, Any], base: type[_R]) -> _R:
    """Return the trigger or the close rule that `rule_data` described.

    Raises AuditError if there is no such rule below `base`.
    """
    known = {kind.__name__: kind for kind in _kinds(base)}
    values = {name: value for name, value in data.items() if name != "type"}
    try:
        return known[data["type"]](
            **{
                name: rule_from(value, base) if isinstance(value, Mapping) else value
                for name, value in values.items()
            }
        )
    except (KeyError, TypeError) as error:
        raise AuditError(
            f"the recorded {_CALLED[base]} {data} is not one of {', '.join(sorted(known))}; import "
            "the module that defines it, or use the version that recorded it"
        ) from error


def _model_names(spec: Any) -> Any:
    if isinstance(spec, list | tuple):
        return [_model_names(one) for one in spec]
    return public_name(spec)


def _setting(value: Any) -> Any:
    """Return a setting as data: a dataclass as its fields, another object as its type's name."""
    if isinstance(value, Trigger | CloseRule):
        return rule_data(value)
    if isinstance(value, Mapping):
        return {str(name): _setting(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_setting(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _setting(getattr(value, field.name)) for field in fields(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return plain(value)
    return type(value).__name__


def _fields_of(rule: Trigger | CloseRule) -> tuple[Any, ...]:
    return fields(rule) if is_dataclass(rule) else ()


def _kinds(base: type[_R]) -> list[type[_R]]:
    below = base.__subclasses__()
    return [*below, *(kind for one in below for kind in _kinds(one))]

"""An engine's and a request's settings as plain data, and back."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from splitreason_integrations.audit.privacy import measure
from splitreason_integrations.audit.record import plain
from splitreason_integrations.backends.registry import public_name
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.errors import AuditError

_MODELS = ("small", "large")
_WATCHERS = ("audit", "telemetry")
"""Settings that change nothing about a reply."""
_OPEN = frozenset({"must_call", "sampling", "max_tokens", "seed", "metadata"})
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


def trigger_data(trigger: Trigger) -> dict[str, Any]:
    """Return a trigger as plain data that `trigger_from` reads."""
    values = {field.name: getattr(trigger, field.name) for field in _fields_of(trigger)}
    data = {
        name: trigger_data(value) if isinstance(value, Trigger) else plain(value)
        for name, value in values.items()
    }
    return {"type": type(trigger).__name__, **data}


def trigger_from(data: Mapping[str, Any]) -> Trigger:
    """Return the trigger that `trigger_data` described; raise AuditError if there is no such."""
    known = {kind.__name__: kind for kind in _kinds(Trigger)}
    values = {name: value for name, value in data.items() if name != "type"}
    try:
        return known[data["type"]](
            **{
                name: trigger_from(value) if isinstance(value, Mapping) else value
                for name, value in values.items()
            }
        )
    except (KeyError, TypeError) as error:
        raise AuditError(
            f"the recorded trigger {data} is not one of {', '.join(sorted(known))}; import the "
            "module that defines it, or use the version that recorded it"
        ) from error


def _model_names(spec: Any) -> Any:
    if isinstance(spec, list | tuple):
        return [_model_names(one) for one in spec]
    return public_name(spec)


def _setting(value: Any) -> Any:
    """Return a setting as data: a dataclass as its fields, another object as its type's name."""
    if isinstance(value, Trigger):
        return trigger_data(value)
    if isinstance(value, Mapping):
        return {str(name): _setting(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_setting(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _setting(getattr(value, field.name)) for field in fields(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return plain(value)
    return type(value).__name__


def _fields_of(trigger: Trigger) -> tuple[Any, ...]:
    return fields(trigger) if is_dataclass(trigger) else ()


def _kinds(base: type[Trigger]) -> list[type[Trigger]]:
    below = base.__subclasses__()
    return [*below, *(kind for one in below for kind in _kinds(one))]

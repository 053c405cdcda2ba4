"""Checks of what a user sets: model specs, triggers, policies, names of options."""

import re
from collections.abc import Collection, Iterable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationInfo

from splitreason_integrations.backends.registry import (
    ModelSpec,
    TransformersModel,
    describe,
    resolve,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.policy import Policy
from splitreason_integrations.triggers import Trigger, parse_trigger

PROVIDER = "splitreason"

_PAIR = re.compile(r"(.+?)\+(?=embedded$|\w+:)(.+)")


def check_spec(value: Any, info: ValidationInfo) -> ModelSpec:
    """Return a spec that can be resolved, or a model; nothing is loaded."""
    if isinstance(value, str | TransformersModel):
        resolve(value, role="large" if info.field_name == "large" else "small")
    elif not hasattr(value, "open_sessions"):
        raise ConfigurationError(f"{info.field_name} must be a spec or a model, got {value!r}")
    spec: ModelSpec = value
    return spec


def check_trigger(value: Any) -> Trigger:
    """Return a trigger, read from text if need be."""
    if isinstance(value, str):
        return parse_trigger(value)
    if isinstance(value, Trigger):
        return value
    raise ConfigurationError(
        f"trigger must be a Trigger such as Tag() or a text such as 'tag>0.2', got {value!r}"
    )


def check_policy(value: Any) -> Policy:
    """Return a policy, made of a dict if need be."""
    if isinstance(value, Policy):
        return value
    if not isinstance(value, dict):
        raise ConfigurationError(f"policy must be a Policy or a dict, got {value!r}")
    check_names(value, {cap.name for cap in fields(Policy)}, what="policy cap")
    return Policy(**value)


def check_names(given: Iterable[str], known: Collection[str], *, what: str) -> None:
    """Raise ConfigurationError for a name that is not known, with the one it resembles."""
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise ConfigurationError(f"unknown {what} {name!r}; {hint}")


def pair_name(small: ModelSpec, large: ModelSpec) -> str:
    """Return the name under which a pair is reported."""
    return f"{PROVIDER}/{describe(small)}+{describe(large)}"


def read_pair(name: Any) -> dict[str, Any]:
    """Return what a `model` argument names: both models of a pair's name, else the small one."""
    if not isinstance(name, str):
        return {"small": name}
    pair = _PAIR.fullmatch(name.removeprefix(f"{PROVIDER}/"))
    if pair is None:
        return {"small": name.removeprefix(f"{PROVIDER}/")}
    return {"small": pair[1], "large": pair[2]}

"""The key under which LangChain caches a reply: every setting that can change it, by value.

What has no value, such as a function or a loaded model, has an identity: a random name that no
other object has, in this process or another. Servers' keys are never part of it.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial, reduce
from numbers import Integral, Real
from os import PathLike, fspath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from pydantic import SecretBytes, SecretStr

from splitreason_integrations import __version__
from splitreason_integrations.backends.description import ModelDescription, folder_fingerprint
from splitreason_integrations.backends.registry import line_up, public_name, resolve
from splitreason_integrations.options import OPTIONS
from splitreason_integrations.privacy.secret_names import is_secret
from splitreason_integrations.settings.options import PairSettings
from splitreason_integrations.settings.written import identity

_WATCHERS = frozenset({"audit", "telemetry", "pause_key"})
"""Options that change nothing about a reply."""
_NEUTRAL = frozenset(
    {"cache", "cache_human_checked", "callbacks", "custom_get_token_ids", "disable_streaming"}
    | {"metadata", "name", "profile", "rate_limiter", "streaming", "tags", "verbose"}
)
"""Fields of a chat model that change nothing about a reply either."""
_KNOWN = {
    "langchain_core",
    "langchain_splitreason",
    "pydantic",
    "splitreason_integrations",
    "tenacity",
}
"""Packages whose classes are known by their names alone, as those of Python are."""
_DEEPEST = 64


def cache_key(model: PairSettings, options: PairSettings, asked: Mapping[str, Any]) -> str:
    """Return the key of one request.

    Args:
        model: the chat model that is called.
        options: its settings with those of the call.
        asked: what else is asked of the reply: tools, a schema, stop strings.

    """
    own = {field.attribute for field in OPTIONS.values()} | _NEUTRAL
    more = [name for name in type(model).model_fields if name not in own]
    data = {
        "version": __version__,
        "class": _type(type(model)),
        "small": _model(options.small, "small"),
        "large": [_model(one, "large") for one in line_up(options.large)],
        "options": {
            name: value_of(getattr(options, option.attribute))
            for name, option in OPTIONS.items()
            if name not in {"small", "large", *_WATCHERS}
        },
        "fields": {name: value_of(getattr(model, name)) for name in more},
        "asked": value_of(asked),
    }
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return f"{public_name(options.small)}+{public_name(options.large)} sha256:{digest}"


def _model(spec: Any, role: Any) -> Any:
    """Return a model by the value of its description; a loaded one by its identity."""
    if not isinstance(spec, str | ModelDescription):
        return {"loaded": identity(spec)}
    described = resolve(spec, role=role)
    value = _without_secrets(value_of(described))
    return {"described": value, "fingerprint": described.fingerprint()}


def value_of(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return a value as plain data: equal for equal values, in every process.

    Mappings keep their order, since prompts and grammars show it. `above` are the ids of what the
    value is part of.
    """
    inner: Callable[[Any], Any] = partial(value_of, above=(*above, id(value)))
    if id(value) in above:
        return {"above": above.index(id(value))}
    if len(above) > _DEEPEST:
        return {"identity": identity(value)}
    if isinstance(value, Enum):
        return {"of": _type(type(value)), "enum": [value.name, inner(value.value)]}
    if isinstance(value, None | bool | str | Integral | Real | bytes | PathLike):
        return _scalar(value)
    match value:
        case Mapping():
            return {"map": [[inner(key), inner(one)] for key, one in value.items()]}
        case Set():
            return {"set": sorted(map(inner, value), key=json.dumps)}
        case Sequence():
            return {"list": list(map(inner, value))}
    return _code(value, inner) or _object(value, inner)


def _scalar(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case Integral():
            return int(value)
        case Real():
            return float(value)
        case bytes():
            return {"bytes": value.hex()}
    return {"path": str(fspath(value))}


def _code(value: Any, inner: Callable[[Any], Any]) -> Any:
    """Return a class, or a function made of known ones; None for all else."""
    match value:
        case type():
            return {"class": _type(value)}
        case partial():
            return {"partial": inner([value.func, value.args, value.keywords])}
        case MethodType():
            return {"method": value.__name__, "of": inner(value.__self__)}
        case BuiltinFunctionType() if isinstance(value.__self__, ModuleType):
            return {"function": f"{value.__module__}.{value.__qualname__}"}
        case FunctionType() if _is_known(value):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            place = f"{value.__module__}.{value.__qualname__}:{value.__code__.co_firstlineno}"
            return {"function": place, "of": inner(cells)}
    return None


def _object(value: Any, inner: Callable[[Any], Any]) -> Any:
    """Return an object by its parts where those are all of it, else by its identity."""
    if isinstance(value, SecretStr | SecretBytes):
        return None
    if isinstance(value, re.Pattern):
        return {"pattern": inner(value.pattern), "flags": value.flags}
    parts = dict(getattr(value, "__dict__", {}))
    if is_dataclass(value):
        parts |= {field.name: getattr(value, field.name) for field in fields(value)}
    elif _package(type(value)) != "tenacity":
        return {"identity": identity(value)}
    return {"of": _type(type(value)), "parts": inner(parts)}


def _type(kind: type) -> Any:
    """Return a class by its name and its bases' names, with digests of the files that hold them.

    One that no name leads to, such as a function's or a notebook's own, has an identity.
    """
    return [_class(one) for one in kind.__mro__ if one is not object]


def _class(kind: type) -> Any:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if _is_known(kind):
        return name
    module: Any = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None or reduce(_part, kind.__qualname__.split("."), module) is not kind:
        return {"identity": identity(kind)}
    return [name, folder_fingerprint(file)]


def _part(whole: Any, name: str) -> Any:
    return getattr(whole, name, None)


def _is_known(named: Any) -> bool:
    """Return whether a class or a function is of Python, or of a package known by its version."""
    return _package(named) in _KNOWN | sys.stdlib_module_names


def _package(named: Any) -> str:
    return str(named.__module__).partition(".")[0]


def _without_secrets(described: Any) -> Any:
    """Return a described model without what lets it be called."""
    match described:
        case {"map": pairs}:
            kept = [pair for pair in pairs if not _is_secret(pair[0])]
            return {"map": [[key, _kept(key, one)] for key, one in kept]}
        case dict():
            return {name: _without_secrets(one) for name, one in described.items()}
        case list():
            return [_without_secrets(one) for one in described]
    return described


def _kept(name: Any, described: Any) -> Any:
    """Return a field without secrets; all variables of a template are shown to the model."""
    return described if name == "chat_template_kwargs" else _without_secrets(described)


def _is_secret(name: Any) -> bool:
    """Return whether an entry lets a model be called, or names what does."""
    return isinstance(name, str) and is_secret(name.removesuffix("_env"))

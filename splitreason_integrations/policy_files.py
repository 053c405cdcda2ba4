"""Policies as files: read with errors that name the line, written so that they read the same."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from os import PathLike, fspath
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from splitreason_integrations.asking import AskRule
from splitreason_integrations.checks import below, check_names
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.policy import Policy, Rule
from splitreason_integrations.terms import LatencyModel, ModelTerms, Prices
from splitreason_integrations.toml_text import line_of, syntax_error, write_toml

NO_CAP = "none"
"""What a file says for None, which TOML cannot: a cap that is lifted, a person who is not asked."""

_FOLDER = Path(__file__).parent / "policies"
_WHAT = {
    Policy: "policy setting",
    Rule: "part of a rule",
    AskRule: "condition for asking",
    ModelTerms: "term of a model",
    Prices: "price",
    LatencyModel: "part of a latency",
}
_T = TypeVar("_T")


def template_names() -> list[str]:
    """Return the names of the ready-made policies."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def template(name: str) -> Policy:
    """Return a ready-made policy."""
    try:
        check_names([name], template_names(), what="policy template")
    except SettingError as error:
        raise ConfigurationError(f"{error}; a file's path must end in .toml") from error
    return load(_FOLDER / f"{name}.toml")


def named(name_or_path: str | PathLike[str]) -> Policy:
    """Return the policy in a file whose name ends in .toml, else the template of that name."""
    text = fspath(name_or_path)
    return load(text) if text.endswith(".toml") else template(text)


def load(path: str | PathLike[str]) -> Policy:
    """Return the policy in a TOML file.

    Raises ConfigurationError, which names the file, the line and the remedy.
    """
    text = _read(path)
    try:
        return _build(Policy, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line, said = syntax_error(text, error)
        raise ConfigurationError(
            f"{path}, line {line}: {said}; write setting = value, text in quotes"
        ) from error
    except SettingError as error:
        raise ConfigurationError(f"{path}, line {line_of(text, error.path)}: {error}") from error


def from_data(data: Mapping[str, Any]) -> Policy:
    """Return the policy that plain data describe, as `dataclasses.asdict` makes them of one."""
    try:
        return _build(Policy, data)
    except SettingError as error:
        around = ".".join(map(str, error.path[:-1]))
        raise SettingError(f"{around}: {error}" if around else str(error), error.path) from error


def to_toml(policy: Policy, *, remarks: Iterable[str] = ()) -> str:
    """Return the settings that differ from the defaults as a policy file, remarks above them."""
    comments = "".join(f"# {' '.join(remark.split())}\n" for remark in remarks)
    return comments + write_toml(_plain(policy))


def _read(path: str | PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the policy {path}: {error.strerror}; `splitreason policy list` names "
            "the ready-made ones"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the policy {path} is not UTF-8 text; save it as UTF-8"
        ) from error


def _build(kind: type[_T], data: Any) -> _T:
    """Return a value of a dataclass; a SettingError carries the path inside `data`."""
    if isinstance(data, kind):
        return data
    if not isinstance(data, Mapping):
        raise SettingError(f"a table belongs here, each {_WHAT[kind]} with its value; got {data!r}")
    hints = get_type_hints(kind)
    check_names(data, hints, what=_WHAT[kind])
    for name in _required(kind):
        if name not in data:
            raise SettingError(f"{name} is missing; add {name} = ...")
    values = _values(hints, data)
    if kind is Rule and isinstance(data["set"], Mapping):
        with below("set"):
            check_names(data["set"], get_type_hints(Policy), what="setting of a rule")
            values["set"] = _values(get_type_hints(Policy), data["set"])
    return kind(**values)


def _values(hints: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in data.items():
        with below(name):
            values[name] = _value(hints[name], value)
    return values


def _value(hint: Any, data: Any) -> Any:
    """Return `data` as a field of type `hint` takes it; the field's own checks come later."""
    choices = [one for one in get_args(hint) if one is not NoneType]
    if NoneType in get_args(hint):
        lifted = data == NO_CAP and choices != [str]
        return None if data is None or lifted else _value(choices[0], data)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, data)
    make = _MAKERS.get(get_origin(hint) or hint)
    return data if make is None else make(choices, data)


def _list(choices: list[Any], data: Any) -> Any:
    if not isinstance(data, list | tuple):
        return data
    values = []
    for at, one in enumerate(data):
        with below(at):
            values.append(_value(choices[0], one))
    return tuple(values)


def _mapping(choices: list[Any], data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    values = {}
    for name, one in data.items():
        with below(name):
            values[name] = _value(choices[1], one)
    return values


_MAKERS: dict[Any, Callable[[list[Any], Any], Any]] = {
    tuple: _list,
    Mapping: _mapping,
}


def _required(kind: type) -> list[str]:
    return [one.name for one in fields(kind) if _default(one) is MISSING]


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        told = {one.name: getattr(value, one.name) for one in fields(value)}
        unset = {one.name: _default(one) for one in fields(value)}
        return {name: _plain(one) for name, one in told.items() if one != unset[name]}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return NO_CAP if value is None else value

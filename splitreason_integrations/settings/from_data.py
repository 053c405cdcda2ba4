"""Dataclasses from plain data and files, with errors that name the place and the remedy."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from splitreason_integrations.checks import below, check_names
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.options import check_replaced
from splitreason_integrations.settings.toml_text import line_of, syntax_error, write_toml

NO_CAP = "none"
"""Stands for None in a file, since TOML has no null: no cap, no person to ask."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Kinds:
    """The dataclasses that may be built.

    Attributes:
        names: what errors call a field of each dataclass.
        partial: fields that hold some fields of another dataclass, by dataclass and field name;
            each with that other dataclass and what errors call its fields.

    """

    names: Mapping[type, str]
    partial: Mapping[tuple[type, str], tuple[type, str]] = field(default_factory=dict)


def load(kind: type[_T], path: str | PathLike[str], kinds: Kinds, *, what: str, remedy: str) -> _T:
    """Return the value of a dataclass that a TOML file describes, or a .json file.

    Raises ConfigurationError, which names the file, the line (of JSON: the key) and the remedy.
    `what` is what the file is called, `remedy` what helps where it cannot be read.
    """
    text = _read(path, what, remedy)
    is_json = str(path).endswith(".json")
    try:
        return build(kind, _parsed_json(path, text) if is_json else tomllib.loads(text), kinds)
    except tomllib.TOMLDecodeError as error:
        line, said = syntax_error(text, error)
        raise ConfigurationError(
            f"{path}, line {line}: {said}; write setting = value, text in quotes"
        ) from error
    except SettingError as error:
        place = _json_place(error) if is_json else f", line {line_of(text, error.path)}"
        raise ConfigurationError(f"{path}{place}: {error}") from error


def build(kind: type[_T], data: Any, kinds: Kinds) -> _T:
    """Return a value of a dataclass; a SettingError has the path inside `data`."""
    if isinstance(data, kind):
        return data
    what = kinds.names[kind]
    if not isinstance(data, Mapping):
        raise SettingError(f"a table belongs here, each {what} with its value; got {data!r}")
    hints = get_type_hints(kind)
    check_replaced(data)
    check_names(data, hints, what=what)
    for name in _required(kind):
        if name not in data:
            raise SettingError(f"{name} is missing; add {name} = ...", (name,))
    values = _values(hints, data, kinds)
    for (whole, name), (part, called) in kinds.partial.items():
        if kind is whole and isinstance(data[name], Mapping):
            with below(name):
                hints = get_type_hints(part)
                check_names(data[name], hints, what=called)
                values[name] = _values(hints, data[name], kinds)
    return kind(**values)


def to_toml(value: Any, *, remarks: Iterable[str] = ()) -> str:
    """Return what is set in a dataclass as a file that `load` reads, remarks above it."""
    comments = "".join(f"# {' '.join(remark.split())}\n" for remark in remarks)
    return comments + write_toml(plain(value))


def plain(value: Any) -> Any:
    """Return plain data, from which `build` makes the same value; defaults are left out."""
    if is_dataclass(value):
        values = {one.name: getattr(value, one.name) for one in fields(value)}
        unset = {one.name: _default(one) for one in fields(value)}
        return {name: plain(one) for name, one in values.items() if one != unset[name]}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return NO_CAP if value is None else value


def _read(path: str | PathLike[str], what: str, remedy: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the {what} {path}: {error.strerror}; {remedy}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the {what} {path} is not UTF-8 text; save it as UTF-8"
        ) from error


def _parsed_json(path: str | PathLike[str], text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: not readable JSON: nested too deeply") from error


def _json_place(error: SettingError) -> str:
    return f", {'.'.join(map(str, error.path))}" if error.path else ""


def _values(hints: Mapping[str, Any], data: Mapping[str, Any], kinds: Kinds) -> dict[str, Any]:
    values = {}
    for name, value in data.items():
        with below(name):
            values[name] = _value(hints[name], value, kinds)
    return values


def _value(hint: Any, data: Any, kinds: Kinds) -> Any:
    """Return `data` converted for a field of type `hint`; the dataclass checks its range."""
    choices = [one for one in get_args(hint) if one is not NoneType]
    if NoneType in get_args(hint):
        lifted = data == NO_CAP and choices != [str]
        return None if data is None or lifted else _value(choices[0], data, kinds)
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, data, kinds)
    make = _MAKERS.get(get_origin(hint) or hint)
    return data if make is None else make(choices, data, kinds)


def _list(choices: list[Any], data: Any, kinds: Kinds) -> Any:
    if not isinstance(data, list | tuple):
        return data
    values = []
    for at, one in enumerate(data):
        with below(at):
            values.append(_value(choices[0], one, kinds))
    return tuple(values)


def _mapping(choices: list[Any], data: Any, kinds: Kinds) -> Any:
    if not isinstance(data, Mapping):
        return data
    values = {}
    for name, one in data.items():
        with below(name):
            values[name] = _value(choices[1], one, kinds)
    return values


_MAKERS: dict[Any, Callable[[list[Any], Any, Kinds], Any]] = {
    tuple: _list,
    Mapping: _mapping,
}


def _required(kind: type) -> list[str]:
    return [one.name for one in fields(kind) if _default(one) is MISSING]


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()

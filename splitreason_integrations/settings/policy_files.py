"""Policies as files: errors name the line, and a written file reads as the same policy."""

import sys
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from splitreason_integrations.checks import check_names
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import LatencyModel, ModelTerms, Prices
from splitreason_integrations.decide.rules import Rule
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.settings import from_data as dataclass_files
from splitreason_integrations.settings.from_data import Kinds

_FOLDER = Path(__file__).parents[1] / "policies"
_KINDS = Kinds(
    {
        Policy: "policy setting",
        Rule: "part of a rule",
        AskRule: "condition for asking",
        ModelTerms: "term of a model",
        Prices: "price",
        LatencyModel: "part of a latency",
    },
    partial={(Rule, "set"): (Policy, "setting of a rule")},
)


def template_names() -> list[str]:
    """Return the names of the ready-made policies."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def template(name: str) -> Policy:
    """Return a ready-made policy."""
    return load(_template_path(name))


def template_text(name: str) -> str:
    """Return the file of a ready-made policy, with its comments."""
    return _template_path(name).read_text("utf-8")


def named(name_or_path: str | PathLike[str]) -> Policy:
    """Return the policy in a file whose name ends in .toml, else the template of that name."""
    text = fspath(name_or_path)
    return load(text) if text.endswith(".toml") else template(text)


def load(path: str | PathLike[str]) -> Policy:
    """Return the policy in a TOML file.

    Raises ConfigurationError, which names the file, the line and the remedy.
    """
    remedy = "`splitreason policy list` names the ready-made ones"
    return dataclass_files.load(Policy, path, _KINDS, what="policy", remedy=remedy)


def from_data(data: Mapping[str, Any]) -> Policy:
    """Return the policy that plain data describe, as `dataclasses.asdict` makes them of one."""
    try:
        return dataclass_files.build(Policy, data, _KINDS)
    except SettingError as error:
        around = ".".join(map(str, error.path[:-1]))
        raise SettingError(f"{around}: {error}" if around else str(error), error.path) from error


def to_toml(policy: Policy, *, remarks: Iterable[str] = ()) -> str:
    """Return the settings that differ from the defaults as a policy file, remarks above them."""
    return dataclass_files.to_toml(policy, remarks=remarks)


def _template_path(name: str) -> Path:
    try:
        check_names([name], template_names(), what="policy template")
    except SettingError as error:
        asked = str(error).removesuffix("?")
        end = "?" if asked != str(error) else "."
        raise ConfigurationError(f"{asked}{end} A file's path must end in .toml") from error
    return _FOLDER / f"{name}.toml"


Policy.files = sys.modules[__name__]

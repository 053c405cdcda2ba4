"""Compare modes, and several small models, on the same tasks with the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitreason_integrations.backends.registry import ModelSpec, public_name
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.intervals import RESAMPLES
from splitreason_integrations.evals.paired import Paired, paired
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import ALONE, Runner
from splitreason_integrations.evals.tasks import Task


@dataclass(frozen=True)
class Contest:
    """Results and paired comparisons on one set of tasks.

    Attributes:
        results: One result per mode, small model and share.
        pairs: Paired comparisons of those results.
        tasks: The tasks that all of them answered.

    """

    results: tuple[Result, ...]
    pairs: tuple[Paired, ...]
    tasks: tuple[Task, ...]

    def data(self) -> dict[str, Any]:
        """Return the figures as plain data: one result, or all results with their comparisons."""
        rows = [result.data() for result in self.results]
        if len(rows) == 1:
            return rows[0]
        mode = ",".join(dict.fromkeys(result.mode for result in self.results))
        return {"mode": mode, "modes": rows, "pairs": [pair.data() for pair in self.pairs]}


@dataclass(frozen=True, slots=True)
class Shares:
    """Offload shares at which modes are compared.

    Attributes:
        asked: Shares within (0, 1); empty to compare at the share that `split` reaches by itself.

    """

    asked: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for share in self.asked:
            if not 0 < share < 1:
                raise RequestError(f"--at-share must lie between 0 and 1, got {share}")


def contest(
    runner: Runner,
    engine: SplitEngine,
    modes: Sequence[str],
    *,
    others: Sequence[ModelSpec] = (),
    shares: Shares = Shares(),
    resamples: int = RESAMPLES,
) -> Contest:
    """Run all modes with the engine's small model, and with other small models in its place.

    Args:
        runner: The tasks and how they are asked.
        engine: The pair to measure.
        modes: Names from `MODES`.
        others: More small models; each is compared with the engine's own, mode by mode.
        shares: Offload shares at which to compare.
        resamples: Bootstrap resamples for the comparisons.

    Raises:
        RequestError: Two small models have the same name; also whatever `Runner.run` raises.

    """
    names = _names(engine, others)
    results: list[Result] = []
    for at, name in enumerate(names):
        one = engine if at == 0 else replace(engine, small=others[at - 1])
        mine = [mode for mode in modes if at == 0 or mode not in ALONE]
        results += runner.compare(mine, one, shares=shares.asked, small=name if others else "")
    pairs = [
        paired(first.side(), other.side(), resamples=resamples, seed=runner.asking.seed)
        for first, other in _worth_comparing(results)
    ]
    return Contest(tuple(results), tuple(pairs), tuple(runner.tasks))


def _names(engine: SplitEngine, others: Sequence[ModelSpec]) -> list[str]:
    """Return the names of the small models, which must differ."""
    names = [public_name(spec) for spec in (engine.small, *others)]
    if len(set(names)) < len(names):
        raise RequestError(
            f"--compare needs a small model other than {names[0]}: two rows of the same name "
            "cannot be distinguished"
        )
    return names


def _worth_comparing(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Return the pairs to compare: split with each other mode, each small model with the first."""
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

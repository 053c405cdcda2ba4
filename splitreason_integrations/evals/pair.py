"""Measure all published figures of the bundled pair in one run, with two processes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from splitreason_integrations.decide.triggers import Tag
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals import report
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.process_pool import ProcessPool
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import MODES, Runner
from splitreason_integrations.evals.tasks import generated

MODES_OF = {"test": MODES, "test-operands": ("base", "small", "large", "split")}
THRESHOLDS = (0.9995, 0.999, 0.99, 0.5)
FAMILIES = ("word", "context")
FEWER = 4
"""All rows except the test split's use this fraction (1 ÷ FEWER) of the problems."""

PROCESSES = 2


@dataclass(frozen=True)
class PairReport:
    """All modes on each split, and the threshold's curve on the test split.

    Attributes:
        modes: Results by split.
        curve: Results by threshold.
        context: Command, hardware, versions and date.

    """

    modes: Mapping[str, Sequence[Result]]
    curve: Sequence[Result]
    context: dict[str, object]

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        return {
            "bench": "pair",
            "rows": [
                {"split": split, **result.data()}
                for split, results in self.modes.items()
                for result in results
            ],
            "curve": [result.data() for result in self.curve],
            **self.context,
        }


def measure_pair(
    *, samples: int, seed: int, command: str, on_progress: Callable[[int, int], None]
) -> PairReport:
    """Measure all modes on both splits, and several thresholds on the test split.

    Args:
        samples: Problems per mode on the test split; a quarter of them for the other rows.
        seed: Seed of the problems.
        command: The command line to publish with the figures.
        on_progress: Called with (parts done, parts in all).

    """
    fewer, engine = -(-samples // FEWER), SplitEngine()
    modes: dict[str, list[Result]] = {}
    curve: list[Result] = []
    parts = len(MODES_OF) + len(THRESHOLDS)
    with ProcessPool(PROCESSES) as pool:

        def runner(split: str, n: int) -> Runner:
            tasks = generated(split, FAMILIES, n=n, seed=seed)
            asking = Asking(seed=seed)
            return Runner(tasks=tasks, asking=asking, concurrency=PROCESSES, process_pool=pool)

        for split, wanted in MODES_OF.items():
            on_progress(len(modes), parts)
            n = samples if split == "test" else fewer
            modes[split] = runner(split, n).compare(wanted, engine)
        for threshold in THRESHOLDS:
            on_progress(len(modes) + len(curve), parts)
            tuned = replace(engine, trigger=Tag(threshold=threshold))
            curve.append(runner("test", fewer).run("split", tuned))
        on_progress(parts, parts)
    return PairReport(modes, curve, report.context(command))

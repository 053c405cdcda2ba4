"""All that is published about the bundled pair, measured in one go by two processes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import report, tables
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.crew import Crew
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import MATCHED, MODES, Runner
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.triggers import Tag

SPLITS = {"test": "unseen problems", "test-operands": "operands never seen together"}
MODES_OF = {"test": MODES, "test-operands": ("base", "small", "large", "split")}
MAIN = ("split", "random", "entropy", "rule")
"""The rows of all problems on the first split."""
THRESHOLDS = (0.99, 0.97, 0.94, 0.5)
FAMILIES = ("word", "context")
FEWER = 4
"""Rows other than the main ones are measured on this part of the problems."""
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"

Told = Callable[[int, int], None]


PROCESSES = 2


@dataclass(frozen=True)
class PairReport:
    """Modes on each split, and the threshold's curve on the test split."""

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

    def markdown(self) -> str:
        """Return the figures as Markdown, with where and how they were measured."""
        parts = []
        for split, results in self.modes.items():
            parts += [f"{SPLITS[split].capitalize()}:", tables.in_markdown(results)]
        parts += ["The knob, on unseen problems:", tables.in_markdown(self.curve, by_trigger=True)]
        versions = report.versions()
        main = max(result.tasks for result in self.modes["test"])
        parts.append(
            f"`{self.context['command']}`: {main} unseen problems in the rows "
            f"{', '.join(MAIN)}, {self.curve[0].tasks} in each of the others; half word problems "
            f"and half questions over retrieved facts, greedy; two processes of one thread each on "
            f"{self.context['hardware']}; torch {versions['torch']}, "
            f"transformers {versions['transformers']}; {self.context['date']}."
        )
        return "\n\n".join(parts)


def measure_pair(*, samples: int, seed: int, command: str, told: Told) -> PairReport:
    """Return the figures of all modes on both splits and of several thresholds.

    Args:
        samples: problems for each mode on the test split; a quarter for each of the other rows.
        seed: of the problems.
        command: what to say was run.
        told: hears how many parts of how many are finished.

    """
    fewer, engine = -(-samples // FEWER), SplitEngine()
    modes: dict[str, list[Result]] = {split: [] for split in SPLITS}
    curve: list[Result] = []
    parts = sum(map(len, MODES_OF.values())) + len(THRESHOLDS)
    with Crew(PROCESSES) as crew:

        def runner(split: str, n: int) -> Runner:
            tasks = generated(split, FAMILIES, n=n, seed=seed)
            asking = Asking(seed=seed)
            return Runner(tasks=tasks, asking=asking, concurrency=PROCESSES, crew=crew)

        def measured(rows: list[Result], result: Result) -> Result:
            rows.append(result)
            told(sum(map(len, modes.values())) + len(curve), parts)
            return result

        for split, wanted in MODES_OF.items():
            share: float | None = None
            for mode in wanted:
                n = samples if split == "test" and mode in MAIN else fewer
                at = share if mode in MATCHED else None
                result = measured(modes[split], runner(split, n).run(mode, engine, share=at))
                share = result.offload_share if mode == "split" else share
        for threshold in THRESHOLDS:
            knob = replace(engine, trigger=Tag(threshold=threshold))
            measured(curve, runner("test", fewer).run("split", knob))
    return PairReport(modes, curve, report.context(command))


def split_at_markers(path: Path) -> tuple[str, str]:
    """Return what stands before and after the part of a file that holds figures.

    Raises RequestError if the file cannot be read or lacks the two markers.
    """
    try:
        before, begin, rest = path.read_text("utf-8").partition(_BEGIN)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error}") from error
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise RequestError(f"{path}: lacks the lines {_BEGIN} and {_END}")
    return before + begin, end + after


def write_into(path: Path, text: str) -> None:
    """Replace the figures that a file holds."""
    before, after = split_at_markers(path)
    path.write_text(f"{before}\n\n{text}\n\n{after}", "utf-8")

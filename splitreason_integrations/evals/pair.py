"""All that is published about the bundled pair, measured in one go by two processes."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import report, tables
from splitreason_integrations.evals.runner import MODES, Result, compare
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.triggers import Tag

SPLITS = {"test": "unseen problems", "test-operands": "operands never seen together"}
MODES_OF = {
    "test": (("split", "random", "entropy"), ("base", "small", "large")),
    "test-operands": (("base", "split"), ("small", "large")),
}
THRESHOLDS = (0.99, 0.97, 0.94, 0.5)
FAMILIES = ("word", "context")
FEWER = 4
"""Rows other than the main ones are measured on this part of the problems."""
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """One process's work: some modes on one split, or a threshold."""

    split: str
    modes: tuple[str, ...]
    samples: int
    seed: int
    threshold: float | None = None


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
        main, other = (len(rows[0].outcomes) for rows in (self.modes["test"], self.curve))
        parts.append(
            f"`{self.context['command']}`: {main} unseen problems in each of the first rows, "
            f"{other} in each of the others; half word problems and half questions over "
            f"retrieved facts, greedy; two processes of one thread each on "
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
    fewer = -(-samples // FEWER)
    parts = [
        *(Part("test", modes, samples, seed) for modes in MODES_OF["test"]),
        *(Part("test-operands", modes, fewer, seed) for modes in MODES_OF["test-operands"]),
        *(Part("test", ("split",), fewer, seed, threshold) for threshold in THRESHOLDS),
    ]
    modes: dict[str, list[Result]] = {split: [] for split in SPLITS}
    curve: list[Result] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=2, mp_context=spawn) as pool:
        for done, (part, results) in enumerate(
            zip(parts, pool.map(run_part, parts), strict=True), start=1
        ):
            told(done, len(parts))
            (modes[part.split] if part.threshold is None else curve).extend(results)
    for results in modes.values():
        results.sort(key=lambda result: MODES.index(result.mode))
    return PairReport(modes, curve, report.context(command))


def run_part(part: Part) -> list[Result]:
    """Measure one part on one thread."""
    import torch

    torch.set_num_threads(1)
    tasks = generated(part.split, FAMILIES, n=part.samples, seed=part.seed)
    engine = SplitEngine(trigger=Tag(threshold=part.threshold))
    return compare(part.modes, engine, tasks, seed=part.seed)


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

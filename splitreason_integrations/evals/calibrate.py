"""Find the `Tag` threshold at which a set of prompts meets a bound on share, cost or accuracy.

The chosen threshold is always one that was measured; nothing is interpolated.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitreason_integrations.decide.triggers import Tag
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import (
    RESAMPLES,
    Figures,
    Metric,
    PerPrompt,
    Picks,
    draw,
    figures,
    log_odds,
)
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import Progress, run_mode
from splitreason_integrations.evals.tasks import Task

RUNS = 8
_REACH = math.log(9999)
"""Log-odds of 0.9999: the search covers thresholds from 0.0001 to 0.9999."""
_FEWEST_PROMPTS = 2


@dataclass(frozen=True)
class Row:
    """Measurements at one threshold.

    Attributes:
        threshold: The threshold of `Tag`.
        prompts: Figures of each prompt.
        figures: Figures over all prompts, with intervals.

    """

    threshold: float
    prompts: PerPrompt
    figures: Figures

    def data(self) -> dict[str, object]:
        """Return the figures as plain data; `interval` is the interval of the offload share."""
        share, usd = self.figures[Metric.SHARE], self.figures[Metric.USD]
        accuracy = self.figures.get(Metric.ACCURACY)
        return {
            "threshold": self.threshold,
            "trigger": str(Tag(threshold=self.threshold)),
            "offload_share": share.value,
            "interval": share.interval,
            "accuracy": accuracy.value if accuracy else None,
            "accuracy_interval": accuracy.interval if accuracy else None,
            "usd_per_1k": usd.value,
            "usd_per_1k_interval": usd.interval,
            "handoffs": self.figures[Metric.HANDOFFS].value,
            "latency_s": {
                "p50": self.figures[Metric.LATENCY_P50].value,
                "p95": self.figures[Metric.LATENCY_P95].value,
            },
        }


class UnmetGoalError(RequestError):
    """No measured threshold meets the goal; `rows` holds the measurements, sorted by threshold."""

    def __init__(self, message: str, rows: Sequence[Row]) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


@dataclass(frozen=True)
class Calibration:
    """The chosen threshold, and the measurements at all thresholds.

    Attributes:
        goal: The bound to meet.
        chosen: The row to use.
        threshold_interval: 95 % interval of the threshold at which the metric equals the bound; it
            cannot extend beyond the measured thresholds.
        rows: All measurements, sorted by threshold.
        seed: Seed of the requests and of the bootstrap.

    """

    goal: Goal
    chosen: Row
    threshold_interval: tuple[float, float]
    rows: tuple[Row, ...]
    seed: int

    @property
    def trigger(self) -> Tag:
        """The calibrated trigger."""
        return Tag(threshold=self.chosen.threshold)

    @property
    def n(self) -> int:
        """Number of prompts asked at each threshold."""
        return len(self.chosen.prompts.tokens)

    def data(self) -> dict[str, object]:
        """Return the calibration as plain data."""
        return {
            **self.chosen.data(),
            "goal": {
                "metric": str(self.goal.metric),
                "bound": self.goal.bound,
                "by_point": self.goal.by_point,
            },
            "threshold_interval": list(self.threshold_interval),
            "n": self.n,
            "seed": self.seed,
            "curve": [row.data() for row in self.rows],
        }


def calibrate(
    engine: SplitEngine,
    tasks: Sequence[Task],
    goal: Goal,
    *,
    runs: int = RUNS,
    seed: int = 0,
    resamples: int = RESAMPLES,
    max_tokens: int = 512,
    network: Network | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Calibration:
    """Find the threshold that meets a goal on these tasks, measured through the engine.

    Args:
        engine: The pair and its policy; its trigger is replaced.
        tasks: The prompts; all of them are asked greedily at each threshold.
        goal: The bound to meet.
        runs: Largest number of thresholds to measure.
        seed: Seed of the requests and of the bootstrap.
        resamples: Bootstrap resamples of the prompts, for the intervals.
        max_tokens: Longest reply in tokens, reasoning included.
        network: Where the large model will run; by default latency is reported as measured.
        progress: Called with (trigger, prompts done, prompts in all).

    Raises:
        RequestError: There are fewer than two prompts, or an accuracy goal lacks answers.
        UnmetGoalError: No threshold meets the goal; the message gives the best one.
        LargeModelError: The large model failed.

    """
    graded = all(task.answer is not None for task in tasks)
    if len(tasks) < _FEWEST_PROMPTS:
        raise RequestError(f"calibration needs {_FEWEST_PROMPTS} prompts or more: bring more data")
    if not goal.is_cap and not graded:
        raise RequestError("a minimum accuracy needs data with an answer in every line")

    def measure(threshold: float) -> PerPrompt:
        trigger = Tag(threshold=threshold)
        result = run_mode(
            "split",
            replace(engine, trigger=trigger, on_large_failure="raise"),
            tasks,
            seed=seed,
            max_tokens=max_tokens,
            progress=lambda _, done, of: progress(str(trigger), done, of),
        )
        return PerPrompt.of(result.outcomes, network or Network(), graded=graded)

    picks = draw(len(tasks), resamples=resamples, seed=seed)
    rows = search(measure, goal, picks, runs=runs)
    return Calibration(goal, choose(rows, goal), meeting_interval(rows, goal, picks), rows, seed)


def search(
    measure: Callable[[float], PerPrompt], goal: Goal, picks: Picks, *, runs: int
) -> tuple[Row, ...]:
    """Bisect the threshold in log-odds around the bound; return the measurements by threshold."""
    rows: dict[float, Row] = {}
    low, high = -_REACH, _REACH
    for _ in range(runs):
        middle = (low + high) / 2
        threshold = _threshold(middle)
        if threshold in rows:
            break
        prompts = measure(threshold)
        rows[threshold] = row = Row(threshold, prompts, figures(prompts, picks))
        if goal.kept_by(row.figures[goal.metric]) == goal.is_cap:
            high = middle
        else:
            low = middle
    return tuple(rows[threshold] for threshold in sorted(rows))


def choose(rows: Iterable[Row], goal: Goal) -> Row:
    """Return the row that meets the goal and offloads most (a cap) or least (a minimum accuracy).

    Every row is checked, because the share need not fall as the threshold rises.

    Raises:
        UnmetGoalError: No row meets the goal.

    """
    rows = list(rows)
    kept = [row for row in rows if goal.kept_by(row.figures[goal.metric])]
    if goal.is_cap:
        kept = [row for row in kept if _share(row) > 0]
    if not kept:
        raise UnmetGoalError(_unmet_message(rows, goal), rows)
    sign = 1 if goal.is_cap else -1
    return max(kept, key=lambda row: (sign * _share(row), row.threshold))


def meeting_interval(rows: Sequence[Row], goal: Goal, picks: Picks) -> tuple[float, float]:
    """Return the 95 % interval of the threshold at which the metric equals the bound.

    In each resample of the prompts the curve is made monotone and interpolated.
    """
    logits = np.array([log_odds(row.threshold) for row in rows])[::-1]
    curve = np.stack([goal.metric.of(row.prompts, picks) for row in rows[::-1]], axis=-1)
    rising = np.maximum.accumulate(curve, axis=-1)
    met = [np.interp(goal.bound, one, logits) for one in rising]
    low, high = np.quantile(met, (0.025, 0.975))
    return _threshold(float(low)), _threshold(float(high))


def _unmet_message(rows: Sequence[Row], goal: Goal) -> str:
    offloading = [row for row in rows if _share(row) > 0]
    if not offloading:
        return (
            f"even at {rows[0].threshold:g}, the lowest threshold measured, the small model never "
            "hands off: train it to write the tags, or use another trigger, such as Entropy"
        )
    sign = -1 if goal.is_cap else 1
    best = max(offloading, key=lambda row: sign * row.figures[goal.metric].value)
    figure = best.figures[goal.metric]
    milder = "a higher cap" if goal.is_cap else "a lower accuracy"
    return (
        f"none of the {len(rows)} measured thresholds is certain to meet {goal}: the best is "
        f"{Tag(threshold=best.threshold)} with {goal.formatted(figure.value)} (95 % interval "
        f"{goal.formatted(figure.low)} to {goal.formatted(figure.high)}); allow {milder}, measure "
        "more thresholds with --runs, or bring more prompts for a narrower interval"
    )


def _share(row: Row) -> float:
    return row.figures[Metric.SHARE].value


def _threshold(at: float) -> float:
    """Return the probability for a log-odds, to three digits of its distance from 0 or 1."""
    side = float(f"{1 / (1 + math.exp(abs(at))):.3g}")
    return side if at < 0 else round(1 - side, 7)

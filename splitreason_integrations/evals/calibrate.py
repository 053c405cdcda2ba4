"""Find the threshold at which a set of prompts meets a bound on share, cost or accuracy.

The chosen threshold is always one that was measured; nothing is interpolated.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.backends.tag_probe import probe
from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.calibration_checks import check_prompts, check_taught
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import (
    RESAMPLES,
    Figures,
    Metric,
    PerPrompt,
    Picks,
    draw,
    figures,
)
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import Progress, run_mode
from splitreason_integrations.evals.scalars import TAG, Scalar
from splitreason_integrations.evals.score_check import Signal, check_signal
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.loop.choice import untaught_remedy

RUNS = 8


@dataclass(frozen=True)
class Row:
    """Measurements at one threshold.

    Attributes:
        threshold: The threshold.
        prompts: Figures of each prompt.
        figures: Figures over all prompts, with intervals.
        scalar: What it is a threshold of.

    """

    threshold: float
    prompts: PerPrompt
    figures: Figures
    scalar: Scalar = TAG

    @property
    def rule(self) -> Trigger | CloseRule:
        """The trigger or close rule with this threshold."""
        return self.scalar.build(self.threshold)

    def data(self) -> dict[str, object]:
        """Return the figures as plain data; `interval` is the interval of the offload share."""
        share, usd = self.figures[Metric.SHARE], self.figures[Metric.USD]
        accuracy = self.figures.get(Metric.ACCURACY)
        return {
            "threshold": self.threshold,
            "trigger" if self.scalar.opens else "close": str(self.rule),
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
        trigger: What opened the spans, with the chosen threshold.
        close: What ended them, as text.
        signal: How well the trigger's score knows where the large model is needed; None where that
            was not measured.
        untaught: What to do about a small model that was never taught to mark spans; None for one
            that was.

    """

    goal: Goal
    chosen: Row
    threshold_interval: tuple[float, float]
    rows: tuple[Row, ...]
    seed: int
    trigger: Trigger
    close: str
    signal: Signal | None = None
    untaught: str | None = None

    @property
    def scalar(self) -> Scalar:
        """What was calibrated."""
        return self.chosen.scalar

    @property
    def n(self) -> int:
        """Number of prompts asked at each threshold."""
        return len(self.chosen.prompts.tokens)

    def data(self) -> dict[str, object]:
        """Return the calibration as plain data."""
        return {
            **self.chosen.data(),
            "trigger": str(self.trigger),
            "close": self.close,
            "signal": None if self.signal is None else asdict(self.signal),
            "untaught": self.untaught,
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
    scalar: Scalar = TAG,
    runs: int = RUNS,
    seed: int = 0,
    resamples: int = RESAMPLES,
    max_tokens: int = 512,
    network: Network | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Calibration:
    """Find the threshold that meets a goal on these tasks, measured through the engine.

    Args:
        engine: The pair and its policy; its trigger is replaced, or its close rule.
        tasks: The prompts; all of them are asked greedily at each threshold.
        goal: The bound to meet.
        scalar: What to calibrate: one of `scalars.TRIGGERS` or `scalars.CLOSES`.
        runs: Largest number of thresholds to measure.
        seed: Seed of the requests and of the bootstrap.
        resamples: Bootstrap resamples of the prompts, for the intervals.
        max_tokens: Longest reply in tokens, reasoning included.
        network: Where the large model will run; by default latency is reported as measured.
        progress: Called with (what runs, prompts done, prompts in all).

    Raises:
        RequestError: There are too few prompts for an interval, an accuracy goal lacks answers, the
            tag is to be calibrated and the small model was never taught to write it, or the
            trigger's score finds no better than chance where the large model is needed.
        UnmetGoalError: No threshold meets the goal; the message gives the best one.
        ConfigurationError: The two models cannot give what a rule needs.
        LargeModelError: The large model failed.

    """
    graded = all(task.answer is not None for task in tasks)
    check_prompts(len(tasks), goal)
    if not goal.is_cap and not graded:
        raise RequestError("a minimum accuracy needs data with an answer in every line")
    small = blocking.run(lambda: load_model(engine.small, role="small"))
    teaching = blocking.run(lambda: probe(small))
    check_taught(scalar, teaching, small.name)
    signal = check_signal(
        engine, tasks, scalar, seed=seed, max_tokens=max_tokens, progress=progress
    )
    closes: set[str] = set()

    def measure(threshold: float) -> PerPrompt:
        rule = scalar.build(threshold)
        if isinstance(rule, Trigger):
            changed = replace(engine, trigger=rule, on_large_failure="raise")
        else:
            changed = replace(engine, close=rule, on_large_failure="raise")
        result = run_mode(
            "split",
            changed,
            tasks,
            seed=seed,
            max_tokens=max_tokens,
            progress=lambda _, done, of: progress(str(rule), done, of),
        )
        closes.update(reply.close for reply in result.replies)
        return PerPrompt.of(result.outcomes, network or Network(), graded=graded)

    picks = draw(len(tasks), resamples=resamples, seed=seed)
    rows = search(measure, goal, picks, runs=runs, scalar=scalar)
    chosen = choose(rows, goal)
    rule = chosen.rule
    return Calibration(
        goal,
        chosen,
        meeting_interval(rows, goal, picks),
        rows,
        seed,
        trigger=rule if isinstance(rule, Trigger) else engine.trigger,
        close=str(rule) if isinstance(rule, CloseRule) else closes.pop(),
        signal=signal,
        untaught=None if teaching.opens else untaught_remedy(small.name),
    )


def search(
    measure: Callable[[float], PerPrompt],
    goal: Goal,
    picks: Picks,
    *,
    runs: int,
    scalar: Scalar = TAG,
) -> tuple[Row, ...]:
    """Bisect the threshold on its scale around the bound; return the measurements by threshold."""
    rows: dict[float, Row] = {}
    low, high = scalar.scale.low, scalar.scale.high
    for _ in range(runs):
        middle = (low + high) / 2
        threshold = scalar.scale.threshold(middle)
        if threshold in rows:
            break
        prompts = measure(threshold)
        rows[threshold] = row = Row(threshold, prompts, figures(prompts, picks), scalar)
        more = goal.kept_by(row.figures[goal.metric]) == goal.is_cap
        if more == scalar.rising:
            low = middle
        else:
            high = middle
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
    scalar = rows[0].scalar
    ordered = rows if scalar.rising else rows[::-1]
    places = np.array([scalar.scale.place(row.threshold) for row in ordered])
    curve = np.stack([goal.metric.of(row.prompts, picks) for row in ordered], axis=-1)
    rising = np.maximum.accumulate(curve, axis=-1)
    met = [np.interp(goal.bound, one, places) for one in rising]
    low, high = np.quantile(met, (0.025, 0.975))
    return scalar.scale.threshold(float(low)), scalar.scale.threshold(float(high))


_NO_SPAN = {
    "tag": "the lowest threshold measured, the small model never hands off: train it to write the "
    "tags, or use another trigger, such as Entropy",
    "disagreement": "the highest threshold measured, the large model would have written what the "
    "small one writes: on these prompts there is nothing to offload",
}
_OTHERS = "the threshold measured that offloads most, no span opens: use another trigger"


def _unmet_message(rows: Sequence[Row], goal: Goal) -> str:
    offloading = [row for row in rows if _share(row) > 0]
    if not offloading:
        scalar = rows[0].scalar
        utmost = rows[-1 if scalar.rising else 0]
        return f"even at {utmost.threshold:g}, {_NO_SPAN.get(scalar.name, _OTHERS)}"
    sign = -1 if goal.is_cap else 1
    best = max(offloading, key=lambda row: sign * row.figures[goal.metric].value)
    figure = best.figures[goal.metric]
    milder = "a higher cap" if goal.is_cap else "a lower accuracy"
    return (
        f"none of the {len(rows)} measured thresholds is certain to meet {goal}: the best is "
        f"{best.rule} with {goal.formatted(figure.value)} (95 % interval "
        f"{goal.formatted(figure.low)} to {goal.formatted(figure.high)}); allow {milder}, measure "
        "more thresholds with --runs, or bring more prompts for a narrower interval"
    )


def _share(row: Row) -> float:
    return row.figures[Metric.SHARE].value

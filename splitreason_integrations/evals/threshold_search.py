"""Search for the threshold that meets a goal. Pure: what a threshold gives is measured elsewhere.

The chosen threshold is always one that was measured; nothing is interpolated.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import Figures, Metric, PerPrompt, Picks, figures
from splitreason_integrations.evals.scalars import TAG, Scalar


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

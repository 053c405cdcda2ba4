"""Correct a forecast of all prompts by a pilot: a few of them on which both models really ran.

The ratio estimator of two-phase sampling (Cochran, Sampling Techniques, chapter 12): the forecast
of all prompts, times what really happened ÷ what was forecast over those of the pilot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from splitreason_integrations.evals.intervals import Numbers
from splitreason_integrations.evals.metrics import Figure, Figures, Metric, PerPrompt, Picks

_COLUMNS = tuple(one.name for one in fields(PerPrompt) if one.name != "right")


@dataclass(frozen=True)
class Pilot:
    """What really happened on some of the prompts.

    Attributes:
        numbers: Which prompts, by their place among all of them.
        real: Their figures.

    """

    numbers: Sequence[int]
    real: PerPrompt


def pilot_numbers(prompts: int, pilot: int) -> list[int]:
    """Return which prompts a pilot of this size runs on, spread evenly over all of them."""
    count = min(pilot, prompts)
    return [at * prompts // count for at in range(count)]


def forecast_figures(forecast: PerPrompt, pilot: Pilot | None, picks: Picks) -> Figures:
    """Return all metrics of a forecast, corrected where there is a pilot, with intervals.

    Prompts are resampled, and with them those of the pilot.
    """
    everything = np.arange(len(forecast.tokens))[None]
    found: dict[Metric, Figure] = {}
    for metric in Metric:
        if metric is Metric.ACCURACY:
            continue
        drawn = _of(metric, forecast, pilot, picks)
        low, high = np.quantile(drawn, (0.025, 0.975))
        value = _of(metric, forecast, pilot, everything)[0]
        found[metric] = Figure(float(value), float(low), float(high))
    return found


def corrected_mean(forecast: PerPrompt, pilot: Pilot | None, name: str) -> float:
    """Return the mean of one column of a forecast, corrected where there is a pilot."""
    everything = np.arange(len(forecast.tokens))[None]
    return float(_corrected(forecast, pilot, name, everything).mean())


def _of(metric: Metric, forecast: PerPrompt, pilot: Pilot | None, picks: Picks) -> Numbers:
    columns = {name: _corrected(forecast, pilot, name, picks).reshape(-1) for name in _COLUMNS}
    values = metric.of(replace(forecast, **columns), np.arange(picks.size).reshape(picks.shape))
    return np.clip(values, 0, 1 if metric is Metric.SHARE else None)


def _corrected(forecast: PerPrompt, pilot: Pilot | None, name: str, picks: Picks) -> Numbers:
    """Return a column of each resample, corrected by the prompts of the pilot in it.

    Where nothing was forecast for those, what really happened on average is added instead.
    """
    column: Numbers = getattr(forecast, name)
    drawn = column[picks]
    if pilot is None:
        return drawn
    happened, known = np.zeros(len(column)), np.zeros(len(column))
    happened[list(pilot.numbers)] = getattr(pilot.real, name)
    known[list(pilot.numbers)] = 1.0
    # A resample without any of them is corrected by all of them.
    shown = np.where(known[picks].max(-1, keepdims=True) > 0, picks, np.arange(len(column))[None])
    real, foreseen = happened[shown].sum(-1), (known * column)[shown].sum(-1)
    ratio = np.where(foreseen > 0, real / np.where(foreseen > 0, foreseen, 1.0), 1.0)
    missed = np.where(foreseen > 0, 0.0, real / known[shown].sum(-1))
    return np.asarray(drawn * ratio[:, None] + missed[:, None])

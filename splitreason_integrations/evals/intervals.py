"""Intervals that figures are published with. 95 % throughout."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]

RESAMPLES = 10_000
_Z = 1.959963984540054
_CELLS = 2_000_000
"""So many draws are held in memory at a time."""


def wilson(right: float, n: int) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = right / n
    centre = p + _Z * _Z / (2 * n)
    spread = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    scale = 1 + _Z * _Z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def bootstrap_median(
    values: Sequence[float], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a median (Efron 1979)."""
    rng = random.Random(seed)
    medians = sorted(median(rng.choices(values, k=len(values))) for _ in range(resamples))
    return medians[int(0.025 * resamples)], medians[int(0.975 * resamples) - 1]


def resampled(
    columns: ArrayLike,
    statistic: Callable[[Numbers], Numbers],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic of column sums (Efron 1979).

    Args:
        columns: shape (tasks, figures). Tasks are drawn again, each with all its samples.
        statistic: takes sums over tasks, shape (resamples, figures); gives shape (resamples,).
        resamples: how often all tasks are drawn.
        seed: of the draws: the same one draws the same tasks, so that figures stay paired.

    """
    found = [statistic(sums) for sums in _sums(np.asarray(columns, np.float64), resamples, seed)]
    low, high = np.quantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)


def clustered(
    rights: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of a mean over tasks with several samples each, shape (tasks, samples).

    Wilson's for one sample a task, else a bootstrap of whole tasks. Where all tasks agree, which
    leaves a bootstrap without width, Wilson's interval for so many tasks.
    """
    means = np.asarray(rights, np.float64).mean(axis=1)
    if np.shape(rights)[1] == 1 or np.ptp(means) == 0:
        return wilson(float(means.sum()), len(means))
    return resampled(
        means[:, None], lambda sums: sums[:, 0] / len(means), resamples=resamples, seed=seed
    )


def pass_at(k: int, rights: ArrayLike) -> Numbers:
    """Return each task's unbiased estimate of being right in one of k samples, shape (tasks,).

    1 − C(n − c, k) ÷ C(n, k) for c of n samples right (Chen et al. 2021, arXiv 2107.03374);
    `rights` has shape (tasks, samples) and no fewer samples than k.
    """
    array = np.asarray(rights, np.float64)
    n = array.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k must lie in 1 to {n}, got {k}")
    of = math.comb(n, k)
    return np.array([1 - math.comb(n - int(right), k) / of for right in array.sum(axis=1)])


def mcnemar(only_one: int, only_other: int) -> float:
    """Return the exact two-sided p of McNemar's test (1947), from counts of discordant pairs."""
    n, fewer = only_one + only_other, min(only_one, only_other)
    tail = sum(math.comb(n, at) for at in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _sums(columns: Numbers, resamples: int, seed: int) -> Iterator[Numbers]:
    rng, tasks = np.random.default_rng(seed), len(columns)
    at_a_time = max(1, _CELLS // tasks)
    for start in range(0, resamples, at_a_time):
        picks = rng.integers(tasks, size=(min(at_a_time, resamples - start), tasks))
        # One column at a time: all at once would hold tasks × figures numbers a resample.
        yield np.stack([column[picks].sum(axis=1) for column in columns.T], axis=1)

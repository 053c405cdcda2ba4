"""Confidence intervals and tests for published figures, at 95 % throughout."""

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
"""Bootstrap draws held in memory at a time."""


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
        columns: Shape (tasks, figures). Whole tasks are resampled, each with all its samples.
        statistic: Maps sums over tasks, shape (resamples, figures), to shape (resamples,).
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling. Calls with the same seed draw the same tasks, which keeps
            figures paired.

    """
    found = [statistic(sums) for sums in _sums(np.asarray(columns, np.float64), resamples, seed)]
    low, high = np.quantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)


def clustered(
    rights: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of a mean over tasks with several samples each, shape (tasks, samples).

    One sample per task: Wilson's interval. Several: a bootstrap of whole tasks. If all tasks have
    the same mean, the bootstrap has no width, and Wilson's interval for that number of tasks is
    returned.
    """
    means = np.asarray(rights, np.float64).mean(axis=1)
    if np.shape(rights)[1] == 1 or np.ptp(means) == 0:
        return wilson(float(means.sum()), len(means))
    return resampled(
        means[:, None], lambda sums: sums[:, 0] / len(means), resamples=resamples, seed=seed
    )


def pass_at(k: int, rights: ArrayLike) -> Numbers:
    """Return each task's unbiased estimate of pass@k, shape (tasks,).

    1 − C(n − c, k) ÷ C(n, k) for c correct of n samples (Chen et al. 2021, arXiv 2107.03374).

    Args:
        k: Samples that are drawn, at most n.
        rights: 1 where a sample is correct, shape (tasks, n).

    Raises:
        ValueError: k is not in [1, n].

    """
    array = np.asarray(rights, np.float64)
    n = array.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k must lie in 1 to {n}, got {k}")
    of = math.comb(n, k)
    return np.array([1 - math.comb(n - int(right), k) / of for right in array.sum(axis=1)])


def mcnemar(only_one: int, only_other: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947) from the discordant counts."""
    n, fewer = only_one + only_other, min(only_one, only_other)
    tail = sum(math.comb(n, at) for at in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _sums(columns: Numbers, resamples: int, seed: int) -> Iterator[Numbers]:
    rng, tasks = np.random.default_rng(seed), len(columns)
    at_a_time = max(1, _CELLS // tasks)
    for start in range(0, resamples, at_a_time):
        picks = rng.integers(tasks, size=(min(at_a_time, resamples - start), tasks))
        # One column at a time, so that memory does not grow with the number of figures.
        yield np.stack([column[picks].sum(axis=1) for column in columns.T], axis=1)

"""Compare two configurations on the same tasks with the same seeds, with 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from splitreason_integrations.evals.intervals import (
    RESAMPLES,
    Numbers,
    mcnemar,
    resampled,
)

_ABOUT = 0.1
"""Largest relative difference of large tokens that counts as about equal."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A comparison of one figure, with its 95 % interval.

    Attributes:
        value: Point estimate of the difference or ratio.
        low: Lower end of the interval.
        high: Upper end of the interval.

    """

    value: float
    low: float
    high: float

    @property
    def data(self) -> dict[str, object]:
        """The figure as plain data."""
        return {"value": self.value, "interval": [self.low, self.high]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Comparison of a first configuration with another.

    Attributes:
        first: Name of the first.
        other: Name of the other.
        tasks: Number of tasks.
        accuracy: Accuracy of the first − accuracy of the other.
        large_tokens: Large tokens of the first ÷ those of the other; None if the other has none.
        pays: Whether the first has large tokens although the other has none.
        only_first: Samples that only the first got right.
        only_other: Samples that only the other got right.
        p: McNemar's exact p-value; None with several samples per task, which are not independent.
        apart: Whether the two accuracies' own intervals do not overlap.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    """

    first: str
    other: str
    tasks: int
    accuracy: Difference
    large_tokens: Difference | None
    pays: bool
    only_first: int
    only_other: int
    p: float | None
    apart: bool
    resamples: int
    seed: int

    @property
    def verdict(self) -> str:
        """Conclusion from the intervals; `better` means more accurate at no higher cost."""
        more = _beyond(self.accuracy, 0.0)
        dearer = _beyond(self.large_tokens, 1.0) if self.large_tokens else int(self.pays)
        accuracy = {1: "more accurate", 0: "accuracy undecided", -1: "less accurate"}[more]
        equal = "about equal" if self._about_as_many else "undecided"
        tokens = {1: "more large tokens", 0: f"large tokens {equal}", -1: "fewer large tokens"}
        summary = "better" if more > 0 >= dearer else "worse" if more < 0 <= dearer else "mixed"
        return f"{summary if more else 'undecided'}: {accuracy}, {tokens[dearer]}"

    @property
    def _about_as_many(self) -> bool:
        """Whether the interval shows that large tokens differ by a tenth at most."""
        ratio = self.large_tokens
        return ratio is None or (ratio.low > 1 - _ABOUT and ratio.high < 1 + _ABOUT)

    def data(self) -> dict[str, object]:
        """Return the comparison as plain data."""
        return {
            "first": self.first,
            "other": self.other,
            "n": self.tasks,
            "accuracy_difference": self.accuracy.data,
            "large_tokens_ratio": self.large_tokens.data if self.large_tokens else None,
            "mcnemar": {
                "only_first": self.only_first,
                "only_other": self.only_other,
                "p": self.p,
            },
            "intervals_apart": self.apart,
            "verdict": self.verdict,
            "resamples": self.resamples,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Side:
    """Figures of one configuration.

    Attributes:
        name: Name of the configuration.
        rights: 1 where a sample is correct, shape (tasks, samples).
        large_tokens: Large-model tokens, shape (tasks, samples).
        interval: 95 % interval of the accuracy.

    """

    name: str
    rights: ArrayLike
    large_tokens: ArrayLike
    interval: tuple[float, float]


def paired(first: Side, other: Side, *, resamples: int = RESAMPLES, seed: int = 0) -> Paired:
    """Compare two sides; the bootstrap resamples whole tasks, the same ones for both sides."""
    rights = [np.asarray(side.rights, np.float64) for side in (first, other)]
    large = [np.asarray(side.large_tokens, np.float64).sum(axis=1) for side in (first, other)]
    tasks, samples = rights[0].shape
    gained = (rights[0] - rights[1]).mean(axis=1)
    low, high = resampled(
        gained[:, None], lambda sums: sums[:, 0] / tasks, resamples=resamples, seed=seed
    )
    only = [int((one > another).sum()) for one, another in (rights, rights[::-1])]
    return Paired(
        first=first.name,
        other=other.name,
        tasks=tasks,
        accuracy=Difference(float(gained.mean()), low, high),
        large_tokens=_ratio(large, resamples=resamples, seed=seed),
        pays=bool(large[0].any() and not large[1].any()),
        only_first=only[0],
        only_other=only[1],
        p=mcnemar(only[0], only[1]) if samples == 1 else None,
        apart=first.interval[0] > other.interval[1] or other.interval[0] > first.interval[1],
        resamples=resamples,
        seed=seed,
    )


def _ratio(large: Sequence[Numbers], *, resamples: int, seed: int) -> Difference | None:
    """Return the ratio of sums; a resample in which the other has no tokens counts one."""
    if not large[1].any():
        return None

    def ratio(sums: Numbers) -> Numbers:
        return np.asarray(sums[:, 0] / np.maximum(1.0, sums[:, 1]))

    low, high = resampled(np.stack(large, axis=1), ratio, resamples=resamples, seed=seed)
    return Difference(float(large[0].sum() / large[1].sum()), low, high)


def _beyond(difference: Difference, neutral: float) -> int:
    if difference.low > neutral:
        return 1
    return -1 if difference.high < neutral else 0

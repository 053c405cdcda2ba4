"""The number of a trigger or of a close rule that calibration searches for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitreason_integrations.decide.closing import Agrees, CloseRule, LowEntropy, TagClose
from splitreason_integrations.decide.triggers import (
    Confidence,
    Disagreement,
    Entropy,
    Position,
    StepEntropy,
    Tag,
    Trigger,
)
from splitreason_integrations.evals.metrics import log_odds


@dataclass(frozen=True)
class Scale:
    """Thresholds, spread so that equal distances matter alike.

    Attributes:
        name: What its unit is called.
        low: Place of the lowest threshold that is searched.
        high: Place of the highest.
        place: Returns the place of a threshold.
        threshold: Returns the threshold at a place, to three digits.
        ticks: Thresholds to mark on an axis.

    """

    name: str
    low: float
    high: float
    place: Callable[[float], float]
    threshold: Callable[[float], float]
    ticks: Sequence[float]


def _probability(place: float) -> float:
    """Return the probability for a log-odds, to three digits of its distance from 0 or 1."""
    side = float(f"{1 / (1 + math.exp(abs(place))):.3g}")
    return side if place < 0 else round(1 - side, 7)


PROBABILITIES = Scale(
    "log-odds",
    -math.log(9999),
    math.log(9999),
    log_odds,
    _probability,
    (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999),
)
"""From 0.0001 to 0.9999."""

NATS = Scale(
    "logarithm",
    math.log(0.001),
    math.log(10),
    math.log,
    lambda place: float(f"{math.exp(place):.3g}"),
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
"""Entropies, from 0.001 to 10 nats."""


@dataclass(frozen=True)
class Scalar:
    """A trigger or a close rule with one number that calibration sets.

    Attributes:
        name: How the command names it.
        meaning: What the number is a threshold of.
        build: Returns the rule with a threshold.
        scale: Where thresholds are searched.
        rising: Whether more is offloaded the higher the threshold is.
        score: For triggers, what is compared with the threshold: the higher, the sooner it fires.
            None where that needs no check: the large model itself gives it, or the probe of the
            tags says whether the small model was taught.

    """

    name: str
    meaning: str
    build: Callable[[float], Trigger | CloseRule]
    scale: Scale
    rising: bool
    score: Callable[[Position], float] | None = None

    @property
    def opens(self) -> bool:
        """Whether it is a trigger."""
        return isinstance(self.build(self.scale.threshold(0.0)), Trigger)


TAG = Scalar("tag", "P(open tag)", Tag, PROBABILITIES, rising=False)

TRIGGERS = {
    one.name: one
    for one in (
        TAG,
        Scalar("disagreement", "P(token) by the large model", Disagreement, PROBABILITIES, True),
        Scalar("entropy", "entropy in nats", Entropy, NATS, False, lambda at: at.entropy),
        Scalar(
            "step-entropy",
            "entropy of a step's first token in nats",
            StepEntropy,
            NATS,
            False,
            lambda at: at.entropy,
        ),
        Scalar(
            "confidence",
            "P(chosen token)",
            Confidence,
            PROBABILITIES,
            True,
            lambda at: -at.confidence,
        ),
    )
}
"""Triggers that can be calibrated, by name."""

CLOSES = {
    one.name: one
    for one in (
        Scalar("tag", "P(close tag)", TagClose, PROBABILITIES, True),
        Scalar(
            "agrees",
            "P(token) by the small model",
            lambda least: Agrees(probability=least),
            PROBABILITIES,
            True,
        ),
        Scalar("entropy", "entropy in nats", LowEntropy, NATS, False),
    )
}
"""Close rules that can be calibrated, by name."""

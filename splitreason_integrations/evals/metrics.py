"""Figures over all prompts, with the interval due to the choice of prompts.

Metrics are computed from per-prompt figures, so that prompts can be resampled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from splitreason_integrations.evals.answering import Outcome
from splitreason_integrations.evals.intervals import Numbers
from splitreason_integrations.evals.network import Network

Picks = NDArray[np.intp]
"""Prompt numbers in each resample, shape (resamples, prompts)."""

RESAMPLES = 2000


@dataclass(frozen=True)
class PerPrompt:
    """Figures of each prompt, as arrays of shape (prompts,) or (prompts, samples).

    Attributes:
        handoffs: Spans opened.
        large_tokens: Tokens written by the large model.
        tokens: Tokens written by both models.
        usd: Cost in USD.
        latency_s: Latency in seconds.
        right: 1 if correct, else 0; None where answers are unknown.

    """

    handoffs: Numbers
    large_tokens: Numbers
    tokens: Numbers
    usd: Numbers
    latency_s: Numbers
    right: Numbers | None = None

    @classmethod
    def of(
        cls, outcomes: Sequence[Outcome], network: Network, *, graded: bool, samples: int = 1
    ) -> "PerPrompt":
        """Return the figures of outcomes, with the large model placed where `network` says."""
        replies = [outcome.replies for outcome in outcomes]
        spans = [[span for reply in some for span in reply.spans] for some in replies]
        large = [sum(reply.large_tokens for reply in some) for some in replies]
        latency_s = []
        for some, opened, tokens in zip(replies, spans, large, strict=True):
            span_s = sum(span.latency_s for span in opened)
            planned_s = network.large_s(handoffs=len(opened), tokens=tokens, measured_s=span_s)
            latency_s.append(sum(reply.latency_s for reply in some) - span_s + planned_s)

        def numbers(values: Sequence[float]) -> Numbers:
            array = np.asarray(values, dtype=np.float64)
            return array if samples == 1 else array.reshape(-1, samples)

        return cls(
            handoffs=numbers([len(opened) for opened in spans]),
            large_tokens=numbers(large),
            tokens=numbers([sum(reply.tokens for reply in some) for some in replies]),
            usd=numbers([sum(reply.cost_usd for reply in some) for some in replies]),
            latency_s=numbers(latency_s),
            right=numbers([outcome.right for outcome in outcomes]) if graded else None,
        )


class Metric(StrEnum):
    """A figure over all prompts."""

    SHARE = "offload_share"
    USD = "usd_per_1k"
    ACCURACY = "accuracy"
    HANDOFFS = "handoffs"
    LATENCY_P50 = "latency_p50_s"
    LATENCY_P95 = "latency_p95_s"

    def of(self, prompts: PerPrompt, picks: Picks) -> Numbers:
        """Return the metric of each resample, shape (resamples,)."""

        def drawn(numbers: Numbers) -> Numbers:
            return numbers[picks].reshape(len(picks), -1)

        match self:
            case Metric.SHARE:
                tokens = drawn(prompts.tokens).sum(-1)
                return np.asarray(drawn(prompts.large_tokens).sum(-1) / np.maximum(1, tokens))
            case Metric.USD:
                return np.asarray(1000 * drawn(prompts.usd).mean(-1))
            case Metric.HANDOFFS:
                return np.asarray(drawn(prompts.handoffs).mean(-1))
            case Metric.LATENCY_P50 | Metric.LATENCY_P95:
                quantile = 0.5 if self is Metric.LATENCY_P50 else 0.95
                return np.asarray(np.quantile(drawn(prompts.latency_s), quantile, axis=-1))
            case Metric.ACCURACY:
                assert prompts.right is not None, "accuracy needs answers"
                return np.asarray(drawn(prompts.right).mean(-1))


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric over all prompts, with its 95 % interval.

    Attributes:
        value: Point estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.

    """

    value: float
    low: float
    high: float

    @property
    def interval(self) -> list[float]:
        """Both ends of the interval, as plain data."""
        return [self.low, self.high]


Figures = Mapping[Metric, Figure]


def draw(prompts: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Picks:
    """Return prompt numbers for each resample, drawn with replacement (Efron 1979)."""
    return np.random.default_rng(seed).integers(prompts, size=(resamples, prompts))


def figures(prompts: PerPrompt, picks: Picks) -> Figures:
    """Return all metrics that the prompts allow, with percentile bootstrap intervals."""
    everything = np.arange(len(prompts.tokens))[None]
    known = [one for one in Metric if one is not Metric.ACCURACY or prompts.right is not None]
    found = {}
    for metric in known:
        low, high = np.quantile(metric.of(prompts, picks), (0.025, 0.975))
        found[metric] = Figure(float(metric.of(prompts, everything)[0]), float(low), float(high))
    return found


def log_odds(probability: float) -> float:
    """Return ln(p ÷ (1 − p)) of a probability in (0, 1)."""
    return math.log(probability / (1 - probability))

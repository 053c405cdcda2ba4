"""Figures of one configuration over all tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from splitreason_integrations.evals.answering import Outcome
from splitreason_integrations.evals.intervals import Numbers, clustered, pass_at, resampled
from splitreason_integrations.evals.metrics import (
    Figures,
    Metric,
    PerPrompt,
    draw,
    figures,
)
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.paired import Side
from splitreason_integrations.records import Completion


@dataclass(frozen=True, kw_only=True)
class Result:
    """A mode's figures over all tasks.

    Attributes:
        mode: Name of the mode.
        trigger: Text of the trigger.
        outcomes: The answers; the `samples` of one task are consecutive.
        seed: Seed of the requests and of the bootstrap.
        small: Name of the small model, where several are compared.
        samples: Answers per task.
        share_asked: Offload share that the trigger was tuned to, if any.
        by_share: Whether several shares are compared, so that the row's name includes the share.
        at_once: Answers in progress while latencies were measured.
        network: Where the large model is assumed to run, for planned latency.

    """

    mode: str
    trigger: str
    outcomes: tuple[Outcome, ...]
    seed: int
    small: str = ""
    samples: int = 1
    share_asked: float | None = None
    by_share: bool = False
    at_once: int = 1
    network: Network = field(default_factory=Network)

    @property
    def name(self) -> str:
        """Name of the row: mode, and share and small model where several are compared."""
        share = f" at {self.share_asked:.3g}" if self.by_share else ""
        return f"{self.mode}{share} ({self.small})" if self.small else self.mode + share

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.outcomes) // self.samples

    @property
    def seconds(self) -> float:
        """Wall time of all answers, given `at_once` of them in parallel."""
        return sum(outcome.seconds for outcome in self.outcomes) / self.at_once

    @property
    def replies(self) -> list[Completion]:
        """All replies of all tasks."""
        return [reply for outcome in self.outcomes for reply in outcome.replies]

    @property
    def rights(self) -> Numbers:
        """1 where an answer is correct, shape (tasks, samples)."""
        flat = np.array([outcome.right for outcome in self.outcomes], np.float64)
        return flat.reshape(-1, self.samples)

    @property
    def accuracy(self) -> float:
        """Fraction of correct answers; pass@1 with several samples per task."""
        return float(self.rights.mean())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy: Wilson's, or a bootstrap of whole tasks."""
        return clustered(self.rights, seed=self.seed)

    @property
    def tokens(self) -> dict[str, int]:
        """Kept generated tokens, by author."""
        return {
            "small": sum(reply.small_tokens for reply in self.replies),
            "large": sum(reply.large_tokens for reply in self.replies),
        }

    @property
    def close(self) -> str:
        """What ended the spans, as text; empty where there could be none."""
        return " or ".join(sorted({reply.close for reply in self.replies} - {""}))

    @property
    def read_ahead_tokens(self) -> int:
        """Tokens that the large model read while the small one wrote."""
        return sum(reply.read_ahead_tokens for reply in self.replies)

    @property
    def small_surplus_tokens(self) -> int:
        """Tokens that the small model wrote behind a span's opening; they were dropped."""
        return sum(reply.small_surplus_tokens for reply in self.replies)

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens, over all tasks together."""
        tokens = self.tokens
        return tokens["large"] / max(1, tokens["small"] + tokens["large"])

    @property
    def pass_at(self) -> Mapping[int, float]:
        """pass@k for k = 1, 2, 4, … and for the number of samples (arXiv 2107.03374)."""
        ks = {2**power for power in range(self.samples.bit_length()) if 2**power <= self.samples}
        return {k: float(pass_at(k, self.rights).mean()) for k in sorted(ks | {self.samples})}

    def pass_interval(self, k: int) -> tuple[float, float]:
        """Return the 95 % interval of pass@k: a bootstrap of whole tasks."""
        if k == 1:
            return self.interval
        each = pass_at(k, self.rights)
        if np.ptp(each) == 0:
            return clustered(each[:, None])
        return resampled(each[:, None], lambda sums: sums[:, 0] / len(each), seed=self.seed)

    @cached_property
    def measured(self) -> Figures:
        """Share, cost and latency as measured, with intervals over tasks."""
        return self._figures(Network())

    @cached_property
    def planned(self) -> Figures:
        """The same figures, as if the large model ran where `network` says."""
        return self._figures(self.network)

    def side(self) -> Side:
        """Return one side of a paired comparison."""
        large = [sum(r.large_tokens for r in outcome.replies) for outcome in self.outcomes]
        tokens = np.array(large, np.float64).reshape(-1, self.samples)
        return Side(self.name, self.rights, tokens, self.interval)

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        tokens, replies = self.tokens, self.replies
        return {
            "mode": self.mode,
            "small": self.small,
            "trigger": self.trigger,
            "close": self.close,
            "n": self.tasks,
            "samples_per_task": self.samples,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "pass_at": {
                str(k): {"value": value, "interval": list(self.pass_interval(k))}
                for k, value in self.pass_at.items()
            },
            "offload_share": self.offload_share,
            "share_interval": self.measured[Metric.SHARE].interval,
            "share_asked": self.share_asked,
            "spans": sum(len(reply.spans) for reply in replies),
            "tokens": tokens,
            "reading": {
                "large_tokens": self.read_ahead_tokens,
                "small_surplus_tokens": self.small_surplus_tokens,
                "cost_usd": sum(reply.read_ahead_usd for reply in replies),
            },
            "seconds": self.seconds,
            "tokens_per_s": sum(tokens.values()) / self.seconds if self.seconds else 0.0,
            "answers_at_once": self.at_once,
            "latency_s": _latency(self.measured),
            "planned_latency_s": {**_latency(self.planned), "network": str(self.network)},
            "cost_usd": sum(reply.cost_usd for reply in replies),
            "usd_per_1k": self.measured[Metric.USD].value,
            "usd_per_1k_interval": self.measured[Metric.USD].interval,
            "degraded": sum(reply.degraded for reply in replies),
            "seed": self.seed,
        }

    def _figures(self, network: Network) -> Figures:
        graded = PerPrompt.of(self.outcomes, network, graded=False, samples=self.samples)
        return figures(graded, draw(self.tasks, seed=self.seed))


def _latency(found: Figures) -> dict[str, object]:
    p50, p95 = found[Metric.LATENCY_P50], found[Metric.LATENCY_P95]
    return {
        "p50": p50.value,
        "p95": p95.value,
        "p50_interval": p50.interval,
        "p95_interval": p95.interval,
    }

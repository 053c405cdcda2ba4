"""A recommendation: all that was tried with two models, and the verdict."""

from dataclasses import dataclass, replace
from typing import Any

from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.evals.agreement import Likeness
from splitreason_integrations.evals.candidates import POLICY
from splitreason_integrations.evals.verdict import Advice, Trial, Verdict


@dataclass(frozen=True)
class Recommendation:
    """All that was tried, and the verdict.

    Attributes:
        small: The small model alone.
        large: The large model alone.
        tried: Configurations that offload.
        left_out: What could not be tried, or need not be, and why.
        verdict: The conclusion.
        likeness: How replies were compared with the large model's; None where answers are known.
        prices: What the large model's tokens cost.
        is_priced: Whether these are real prices; otherwise costs are relative ones.
        share_asked: Offload share that thresholds were set for; None where none were.

    """

    small: Trial
    large: Trial
    tried: tuple[Trial, ...]
    left_out: tuple[tuple[str, str], ...]
    verdict: Verdict
    likeness: Likeness | None
    prices: Prices
    is_priced: bool
    share_asked: float | None

    @property
    def rows(self) -> tuple[Trial, ...]:
        """All that was measured."""
        return (self.small, *self.tried, self.large)

    @property
    def score(self) -> str:
        """Name of the score."""
        return score_name(self.likeness)

    @property
    def policy(self) -> Policy:
        """The policy to use."""
        match self.verdict.advice:
            case Advice.OFFLOAD:
                chosen = self.verdict.chosen
                return replace(POLICY, trigger=chosen.result.trigger, close=chosen.close)
            case Advice.SMALL:
                return Policy(trigger="never")
            case Advice.LARGE:
                return Policy(trigger="always")

    def data(self) -> dict[str, Any]:
        """Return the recommendation as plain data."""
        verdict = self.verdict
        return {
            "offload": verdict.advice is Advice.OFFLOAD,
            "advice": str(verdict.advice),
            "trigger": self.policy.trigger,
            "close": self.policy.close,
            "verdict": verdict.sentence,
            "next": list(verdict.steps),
            "score": self.score,
            "compared_by": None if self.likeness is None else str(self.likeness),
            "share_asked": self.share_asked,
            "prices": {
                "input_usd": self.prices.input_usd,
                "output_usd": self.prices.output_usd,
                "relative": not self.is_priced,
            },
            "tried": [self._row(one) for one in self.rows],
            "left_out": [{"name": name, "why": why} for name, why in self.left_out],
        }

    def _row(self, one: Trial) -> dict[str, Any]:
        data = one.result.data()
        if not self.is_priced:
            for name in ("cost_usd", "usd_per_1k", "usd_per_1k_interval"):
                del data[name]
        data["score"] = data.pop("accuracy")
        return {
            **data,
            "name": one.result.name,
            "close": one.close,
            "gain_over_small": one.gain.data,
            "gap_to_large": one.gap.data,
            "saving": one.saving.data,
        }


def score_name(likeness: Likeness | None) -> str:
    """Return what the score is: accuracy, or agreement with the large model."""
    return "accuracy" if likeness is None else "agreement"

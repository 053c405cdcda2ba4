"""Conclude from measurements whether to offload, and how. Pure: no model and no file.

Offloading is advised only where it is certain, at 95 %, to beat the small model alone and to cost
less than the large one alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from splitreason_integrations.evals.intervals import Numbers, resampled
from splitreason_integrations.evals.metrics import PerPrompt
from splitreason_integrations.evals.paired import Difference, paired
from splitreason_integrations.evals.results import Result

CLOSE_TO_BEST = 0.1
"""How far below the best score a cheaper trigger may be, unless it is certain to be worse. With 30
prompts this is three of them, which is chance."""

_CUT = 0.1
"""Share of replies that end at their longest, from which on a verdict comes with a warning."""

_Z = 1.96
_TINY = 1e-9


class Advice(StrEnum):
    """What to do with two models.

    Attributes:
        OFFLOAD: Use both, with a trigger.
        SMALL: Use the small model alone.
        LARGE: Use the large model alone.

    """

    OFFLOAD = "offload"
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Trial:
    """Measurements of one configuration, compared with both models alone on the same prompts.

    Attributes:
        result: Its answers and figures.
        close: Text of its close rule; empty for a model alone.
        gain: Its score − that of the small model alone.
        gap: Its score − that of the large model alone.
        saving: 1 − its cost ÷ that of the large model alone.

    """

    result: Result
    close: str
    gain: Difference
    gap: Difference
    saving: Difference

    @property
    def score(self) -> float:
        """Accuracy, or agreement with the large model."""
        return self.result.accuracy


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion.

    Attributes:
        advice: What to do.
        chosen: The configuration to use; one of both models alone where nothing is offloaded.
        sentence: The conclusion for people.
        steps: What to do next.

    """

    advice: Advice
    chosen: Trial
    sentence: str
    steps: tuple[str, ...]


def trial(result: Result, small: Result, large: Result, *, close: str = "") -> Trial:
    """Return a result compared with both models alone."""
    side = result.side()
    return Trial(
        result,
        close,
        gain=paired(side, small.side(), seed=result.seed).accuracy,
        gap=paired(side, large.side(), seed=result.seed).accuracy,
        saving=_saving(result, large),
    )


def conclude(small: Trial, large: Trial, tried: Sequence[Trial], *, score: str) -> Verdict:
    """Return the verdict.

    Args:
        small: The small model alone.
        large: The large model alone.
        tried: All configurations that offload; empty where the large model adds nothing.
        score: Name of the score: accuracy or agreement.

    """
    if not adds_something(large):
        return _small_is_enough(small, large, score)
    better = [one for one in tried if one.gain.low > 0]
    saving = [one for one in better if one.saving.low > 0]
    if saving:
        return _offload(saving, small, large, score)
    if better:
        best = max(better, key=lambda one: one.saving.value)
        return Verdict(
            Advice.LARGE,
            large,
            f"Do not offload: use the large model alone ({_scored(large, score)}). "
            f"{best.result.name} is better than the small model alone, but it is not certain to "
            f"cost less than the large model alone (saving {percent(best.saving)}).",
            ("Use the large model alone, or teach the small one to mark the hard spans.",),
        )
    best_of_all = max(tried, key=lambda one: one.score, default=None)
    said = (
        "No trigger could be tried."
        if best_of_all is None
        else f"No trigger is certain to beat the small model alone; the best, "
        f"{best_of_all.result.name}, differs by {points(best_of_all.gain)}."
    )
    return Verdict(
        Advice.SMALL,
        small,
        f"Do not offload: {said} The small model alone has {_scored(small, score)}, the large one "
        f"{_scored(large, score)}.",
        (
            *([] if best_of_all is None else more_prompts(best_of_all, small)),
            "Teach the small model to mark its hard spans (splitreason annotate, then splitreason "
            "train), or use the large model alone where its quality is needed.",
        ),
    )


def steps_before_use(small: Trial, large: Trial, *, graded: bool, max_tokens: int) -> list[str]:
    """Return what to mend before the figures can be relied on.

    Args:
        small: The small model alone.
        large: The large model alone.
        graded: Whether the right answers are known.
        max_tokens: Longest reply in tokens.

    """
    found = []
    cut = {
        one.result.mode: sum(reply.stop_reason == "length" for reply in one.result.replies)
        / one.result.tasks
        for one in (small, large)
    }
    most = max(cut, key=lambda mode: cut[mode])
    if cut[most] >= _CUT:
        found.append(
            f"{cut[most]:.0%} of the {most} model's replies were cut off at {max_tokens} tokens: "
            "run again with a higher --max-tokens."
        )
    if not graded:
        found.append(
            "Bring right answers if you can: agreement says how often a reply is the large "
            "model's, not how often it is right."
        )
    return found


def adds_something(large: Trial) -> bool:
    """Return whether the large model alone is certain to be better than the small one alone."""
    return large.gain.low > 0


def more_prompts(one: Trial, small: Trial) -> list[str]:
    """Return how many prompts would make a gain of this size certain, if more than there are."""
    gain, n = one.gain.value, one.result.tasks
    if gain <= 0:
        return []
    each = one.result.rights.mean(axis=1) - small.result.rights.mean(axis=1)
    needed = 10 * math.ceil((_Z * float(each.std()) / gain) ** 2 / 10)
    if needed <= n:
        return []
    return [
        f"A gain of {100 * gain:.1f} points would be certain with about {needed} prompts "
        f"({n} here): bring more if it matters."
    ]


def points(difference: Difference) -> str:
    """Return a difference of scores in points, with its interval."""
    value, low, high = (100 * one for one in (difference.value, difference.low, difference.high))
    return f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"


def percent(difference: Difference) -> str:
    """Return a fraction with its interval, in percent."""
    return f"{difference.value:.0%} ({difference.low:.0%} to {difference.high:.0%})"


def _small_is_enough(small: Trial, large: Trial, score: str) -> Verdict:
    return Verdict(
        Advice.SMALL,
        small,
        f"Do not offload: the small model alone is as good as the large one on these prompts, "
        f"within the interval: {_scored(small, score)} against {_scored(large, score)}; the large "
        f"model adds {points(large.gain)}.",
        (
            *more_prompts(large, small),
            "Use the small model alone. Run this again when your prompts or your models change.",
        ),
    )


def _offload(tried: Sequence[Trial], small: Trial, large: Trial, score: str) -> Verdict:
    best, chosen = max(tried, key=lambda one: one.score), _cheapest_of_best(tried)
    steps = [
        "Put policy.toml in place with the two lines below, and watch share and cost in the audit "
        "log (splitreason audit report).",
        "For a cap on share or cost, set max_offload_share or max_usd in policy.toml.",
    ]
    if chosen.result.trigger != "tag":
        steps.append(
            "If this pays off, teach the small model to mark its hard spans (splitreason annotate, "
            "then splitreason train): the large model need not read along then."
        )
    if best.score > chosen.score:
        more = paired(best.result.side(), chosen.result.side(), seed=best.result.seed).accuracy
        steps.append(
            f"{best.result.name} scored higher by {points(more)}, which may be chance, and saves "
            f"{percent(best.saving)}: measure both on more prompts if quality matters most."
        )
    if chosen.gap.high < 0:
        steps.append(
            f"The large model alone is still better, by {points_below(chosen.gap)}: where that "
            "matters more than cost, use it alone."
        )
    return Verdict(
        Advice.OFFLOAD,
        chosen,
        f"Use {chosen.result.trigger} with spans that end at {chosen.close}: "
        f"{_scored(chosen, score)} against {_scored(small, score)} of the small model alone, "
        f"saving {percent(chosen.saving)} of the cost of the large model alone"
        + (f", which has {_scored(large, score)}." if score == "accuracy" else "."),
        tuple(steps),
    )


def points_below(gap: Difference) -> str:
    """Return by how many points something is below another, with the interval."""
    return f"{-100 * gap.value:.1f} points ({-100 * gap.high:.1f} to {-100 * gap.low:.1f})"


def _cheapest_of_best(tried: Sequence[Trial]) -> Trial:
    """Return the cheapest of those that are about as good as the best."""
    best = max(tried, key=lambda one: one.score)
    side = best.result.side()
    close_by = [
        one
        for one in tried
        if one.score >= best.score - CLOSE_TO_BEST - _TINY
        and paired(one.result.side(), side, seed=best.result.seed).accuracy.high >= 0
    ]
    return max(close_by, key=lambda one: one.saving.value)


def _scored(one: Trial, score: str) -> str:
    low, high = one.result.interval
    return f"{one.score:.0%} {score} ({low:.0%} to {high:.0%})"


def _saving(result: Result, large: Result) -> Difference:
    costs = np.stack([_usd(result), _usd(large)], axis=1)

    def saved(sums: Numbers) -> Numbers:
        return np.asarray(1 - sums[:, 0] / np.maximum(np.finfo(np.float64).tiny, sums[:, 1]))

    low, high = resampled(costs, saved, seed=result.seed)
    return Difference(float(saved(costs.sum(axis=0)[None])[0]), low, high)


def _usd(result: Result) -> Numbers:
    per_prompt = PerPrompt.of(result.outcomes, result.network, graded=False, samples=result.samples)
    return np.asarray(per_prompt.usd.reshape(result.tasks, -1).sum(axis=1))

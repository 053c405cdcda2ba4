"""Whether a trigger's score predicts where the large model is needed, or is only noise.

The statistic is the area under the ROC curve (AUC): the chance that the score of a place where the
large model would have written another token is above that of a place where it would not. 0.5 is
chance. Places of one reply depend on each other, so whole prompts are resampled. Share and accuracy
at a threshold could not show noise: a threshold on noise opens spans, too, and spans help wherever
they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from splitreason_integrations import blocking
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.registry import line_up, load_model
from splitreason_integrations.decide.steps import begins_step
from splitreason_integrations.decide.triggers import Needs, Position, StepEntropy, Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.budget import Budget
from splitreason_integrations.evals.intervals import Numbers
from splitreason_integrations.evals.metrics import Picks, draw
from splitreason_integrations.evals.runner import Progress
from splitreason_integrations.evals.scalars import Scalar
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.watching import Watched, watch

_OTHER_TOKENS = "tokens that the large model would not have written"
_WRONG_ANSWERS = "prompts that the small model alone answers wrong"
_Place = tuple[float, bool]
"""A score, and whether the large model is needed there."""


@dataclass(frozen=True, slots=True)
class Signal:
    """How well a trigger's score predicts where the large model is needed.

    Attributes:
        name: The trigger, as the command names it.
        against: What its score should predict.
        auc: Area under the ROC curve; 0.5 is chance.
        low: Lower end of its 95 % interval.
        high: Upper end.

    """

    name: str
    against: str
    auc: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"AUC of {self.name} for {self.against}: {self.auc:.2f} (95 % interval {self.low:.2f} "
            f"to {self.high:.2f}; 0.5 is chance)"
        )


def check_signal(
    engine: SplitEngine,
    tasks: Sequence[Task],
    scalar: Scalar,
    *,
    seed: int = 0,
    max_tokens: int = 512,
    resamples: int = 1000,
    budget: Budget | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Signal | None:
    """Return how well a trigger's score predicts where the large model is needed.

    The small model answers alone, and the large one reads along. Where the large one cannot read,
    the highest score in a reply should predict whether its answer is wrong. Returns None where
    there are no answers either, and for scores that need no check.

    Raises:
        RequestError: The score is not above chance, or the large model is needed nowhere.

    """
    trigger = scalar.build(scalar.scale.threshold(0.0))
    if scalar.score is None or not isinstance(trigger, Trigger):
        return None
    large = blocking.run(lambda: load_model(line_up(engine.large)[0], role="large"))
    reads = Gives.READING in large.gives
    if not reads and any(task.answer is None for task in tasks):
        return None
    watched = watch(
        engine,
        tasks,
        [trigger],
        also=Needs.LARGE if reads else Needs.NOTHING,
        seed=seed,
        max_tokens=max_tokens,
        budget=budget,
        progress=lambda _, done, of: progress("small model alone", done, of),
    )
    if reads:
        units = _steps if isinstance(trigger, StepEntropy) else _tokens
        places = [list(units(one, scalar)) for one in watched]
    else:
        places = [
            [(max(score for score, _ in _tokens(one, scalar)), not task.right(one.reply.answer))]
            for one, task in zip(watched, tasks, strict=True)
        ]
    picks = draw(len(places), resamples=resamples, seed=seed)
    return _checked(scalar.name, _OTHER_TOKENS if reads else _WRONG_ANSWERS, places, picks)


def auc_of(scores: Numbers, needed: Numbers, weights: Numbers) -> float:
    """Return the weighted area under the ROC curve; NaN where all places are alike.

    Args:
        scores: The score of each place.
        needed: 1 where the large model is needed, else 0.
        weights: How often each place counts.

    """
    _, rank = np.unique(scores, return_inverse=True)
    yes = np.bincount(rank, weights * needed)
    no = np.bincount(rank, weights * (1 - needed))
    pairs = yes.sum() * no.sum()
    below = np.cumsum(no) - no / 2
    return float((yes * below).sum() / pairs) if pairs else float("nan")


def _checked(name: str, against: str, places: Sequence[Sequence[_Place]], picks: Picks) -> Signal:
    scores, needed = (
        np.array([place[side] for some in places for place in some], np.float64) for side in (0, 1)
    )
    prompt = np.repeat(np.arange(len(places)), [len(some) for some in places])
    if not needed.any():
        raise RequestError(
            f"there is nothing to offload: on these {len(places)} prompts there are no {against}"
        )
    found = auc_of(scores, needed, np.ones(len(scores)))
    counts = np.stack([np.bincount(one, minlength=len(places)) for one in picks])
    resampled = [auc_of(scores, needed, np.asarray(one[prompt], np.float64)) for one in counts]
    if np.isnan(found) or np.isnan(resampled).all():
        raise RequestError(f"on these {len(places)} prompts there are nothing but {against}")
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    signal = Signal(name, against, found, float(low), float(high))
    if low <= 0.5:
        raise RequestError(
            f"{name} is only noise with these two models: its score finds {against} no better than "
            f"chance. {signal}. A threshold fitted to it would mean nothing: use another trigger, "
            "such as disagreement, or bring more prompts"
        )
    return signal


def _known(watched: Watched) -> Iterator[Position]:
    for index in range(watched.reply.small_tokens):
        at = watched.last(index)
        if at is not None:
            yield at


def _tokens(watched: Watched, scalar: Scalar) -> Iterator[_Place]:
    """Yield each token's score, and whether the large model would have written another."""
    assert scalar.score is not None, "only scores are checked"
    for at in _known(watched):
        yield scalar.score(at), not at.large_likeliest


def _steps(watched: Watched, scalar: Scalar) -> Iterator[_Place]:
    """Yield the score of each step's first token, and whether the large one differs in the step."""
    assert scalar.score is not None, "only scores are checked"
    score, needed = None, False
    for at in _known(watched):
        if begins_step(at.text, at.chosen):
            if score is not None:
                yield score, needed
            score, needed = scalar.score(at), False
        needed |= not at.large_likeliest
    if score is not None:
        yield score, needed

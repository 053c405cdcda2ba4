"""What a plan starts from, measured on two models; its predictions held against a real run.

Both models are timed alone. The split gives the figures of an average answer with one at a time,
and what a hand-over waits beyond the models' own work. Then it runs with many at once, on other
problems: nothing of that run is in the prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from splitreason_integrations import blocking
from splitreason_integrations.backends.base import Model
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.runner import Progress
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.planning.capacity import closed_rate
from splitreason_integrations.planning.driving import Drive
from splitreason_integrations.planning.figures import AnswerFigures, Figures, ModelFigures
from splitreason_integrations.planning.stations import split
from splitreason_integrations.planning.timing import (
    CHECK,
    LARGE,
    SMALL,
    SPLIT,
    Effort,
    Stopwatch,
    Times,
)

PARTS = 5
"""So many times its samples a measurement takes problems, none of them twice."""

_LEAST_PART = 0.1
"""Reading and writing are taken to be at least this part of the time that holds both: a floor
under differences of measured times."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was predicted beside what was measured, with so many answers at once."""

    at_once: int
    predicted_per_s: float
    predicted_share: float
    measured: Drive

    def rows(self) -> dict[str, tuple[float, float]]:
        """Return what was predicted and what was measured, by name."""
        return {
            "answers_per_s": (self.predicted_per_s, self.measured.answers_per_s),
            "latency_s": (self.at_once / self.predicted_per_s, self.measured.latency_s),
            "offload_share": (self.predicted_share, self.measured.offload_share),
        }

    def data(self) -> dict[str, object]:
        """Return the check as plain data; `error` is predicted ÷ measured − 1."""
        rows = {
            name: {"predicted": predicted, "measured": found, "error": error_of(predicted, found)}
            for name, (predicted, found) in self.rows().items()
        }
        return {"at_once": self.at_once, "n": len(self.measured.replies), **rows}


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures, and the check of what they predict."""

    figures: Figures
    check: Check


def measure(
    engine: SplitEngine,
    tasks: Sequence[Task],
    effort: Effort,
    *,
    shared: bool | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Measured:
    """Return the figures of an engine's two models on some tasks, checked against a run.

    Args:
        engine: its models, trigger and policy are used.
        tasks: the prompts, asked greedily; answers are not looked at. Where there are fewer than
            PARTS times the samples they come again, and a server that remembers prompts then
            reads faster than it would.
        effort: how much is measured.
        shared: whether both models are on one device; without, whether both are in this process.
        progress: hears what is measured, and which round of how many it is.

    Raises:
        RequestError: answers too short to be timed.
        ModelCallError, LargeModelError: a model failed; nothing was made up for it.

    """
    engine = replace(engine, on_large_failure="raise")
    models = dict(zip((SMALL, LARGE), blocking.run(engine.models), strict=True))
    times = Stopwatch(engine, models, tasks, effort, progress).times()
    large_alone, alone = times.drives[LARGE, 1], times.drives[SPLIT, 1]
    answer = _answer(alone, engine.handback_tokens, large_alone.tokens)
    small, large = (_speeds(models[role], role, times, effort.at_once) for role in (SMALL, LARGE))
    remote = any(model.remote for model in models.values())
    figures = Figures(
        small=small,
        large=large,
        answer=answer,
        shared=not remote if shared is None else shared,
    )
    figures = replace(figures, round_trip_s=_waits_s(figures, alone))
    return Measured(figures, _check(figures, times.drives[CHECK, effort.at_once]))


def error_of(predicted: float, measured: float) -> float | None:
    """Return predicted ÷ measured − 1; None where nothing was measured."""
    return predicted / measured - 1 if measured else None


def _speeds(model: Model, role: str, times: Times, at_once: int) -> ModelFigures:
    """Take apart what a model alone needed: round trip, reading, and a step for each token."""
    reading, alone = times.readings[role], times.drives[role, 1]
    answer_s = 1 / alone.answers_per_s
    if alone.tokens < 2 or answer_s <= reading.first_s:
        raise RequestError(
            f"{role}: answers of {alone.tokens:.1f} tokens are too short to tell reading and "
            "writing apart; use prompts with longer answers"
        )
    step_s = (answer_s - reading.first_s) / (alone.tokens - 1)
    trip_s = max(0.0, reading.again_s - step_s) if model.remote else 0.0
    reading_s = max(reading.first_s - step_s - trip_s, _LEAST_PART * reading.first_s)
    read_tokens_per_s = reading.tokens / reading_s
    return ModelFigures(
        tokens_per_s=_writing_rate(times.drives[role, at_once], read_tokens_per_s),
        read_tokens_per_s=read_tokens_per_s,
        concurrency=at_once,
        alone_tokens_per_s=1 / step_s,
        prices=model.prices,
    )


def _writing_rate(run: Drive, read_tokens_per_s: float) -> float:
    """Return the tokens a second of all answers together, the reading of prompts taken off."""
    answer_s = 1 / run.answers_per_s
    writing_s = answer_s - run.prompt_tokens / read_tokens_per_s
    return run.tokens / max(writing_s, _LEAST_PART * answer_s)


def _answer(run: Drive, handback_tokens: int, large_alone_tokens: float) -> AnswerFigures:
    spans = [span for reply in run.replies for span in reply.spans if run.large_tokens]
    n = len(run.replies)
    return AnswerFigures(
        prompt_tokens=run.prompt_tokens,
        tokens=run.tokens,
        offload_share=run.offload_share,
        spans=len(spans) / n,
        surplus_tokens=sum(span.surplus_tokens for span in spans) / n,
        handback_tokens=handback_tokens,
        large_alone_tokens=large_alone_tokens,
    )


def _waits_s(figures: Figures, alone: Drive) -> float:
    """Return what a hand-over waits, network and all: what the models' work does not explain."""
    spans = figures.answer.spans
    unexplained_s = 1 / alone.answers_per_s - split(figures).idle_s
    return max(0.0, unexplained_s) / spans if spans else 0.0


def _check(figures: Figures, run: Drive) -> Check:
    rate = closed_rate(split(figures), run.at_once)
    return Check(run.at_once, rate, figures.answer.offload_share, run)

"""Measure the figures of a plan on two models, and compare its prediction with a real run.

Both models are timed alone. The split with one answer at a time gives the figures of an average
answer, and the time per handoff beyond the models' own work. Then the split runs with many
concurrent answers on other problems; nothing of that run enters the prediction.
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
"""A measurement uses PARTS × samples problems, each of them once."""

_LEAST_PART = 0.1
"""Smallest fraction of a measured time attributed to reading, or to writing.

Differences of measured times can be near zero or negative; this is their floor.
"""


@dataclass(frozen=True, slots=True)
class Check:
    """Prediction and measurement at one concurrency.

    Attributes:
        at_once: Concurrent answers.
        predicted_per_s: Predicted answers per second.
        predicted_share: Predicted offload share.
        measured: The run.

    """

    at_once: int
    predicted_per_s: float
    predicted_share: float
    measured: Drive

    def rows(self) -> dict[str, tuple[float, float]]:
        """Return (predicted, measured) by name."""
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
    """Measured figures and the check of their prediction.

    Attributes:
        figures: The figures.
        check: The check.

    """

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
    """Measure the figures of an engine's two models, and check them against a run.

    Args:
        engine: Its models, trigger and policy are used.
        tasks: The prompts, asked greedily; answers are ignored. With fewer than PARTS × samples
            tasks, prompts repeat, and a server with a prefix cache then reads faster than in
            reality.
        effort: How much to measure.
        shared: Whether both models share one device; by default, whether both run in this process.
        progress: Called with (what is measured, rounds done, rounds in all).

    Raises:
        RequestError: The answers are too short to be timed.
        ModelCallError: The small model failed.
        LargeModelError: The large model failed.

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
    """Return predicted ÷ measured − 1; None if nothing was measured."""
    return predicted / measured - 1 if measured else None


def _speeds(model: Model, role: str, times: Times, at_once: int) -> ModelFigures:
    """Split the time of a model alone into round trip, reading, and a step per token."""
    reading, alone = times.readings[role], times.drives[role, 1]
    answer_s = 1 / alone.answers_per_s
    if alone.tokens < 2 or answer_s <= reading.first_s:
        raise RequestError(
            f"{role}: answers of {alone.tokens:.1f} tokens are too short to separate reading from "
            "writing; use prompts with longer answers"
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
    """Return the tokens per second over all answers, without the time for reading prompts."""
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
        read_ahead_tokens=sum(reply.read_ahead_tokens for reply in run.replies) / n,
        small_surplus_tokens=sum(reply.small_surplus_tokens for reply in run.replies) / n,
    )


def _waits_s(figures: Figures, alone: Drive) -> float:
    """Return the seconds per handoff that the models' own work does not explain."""
    spans = figures.answer.spans
    unexplained_s = 1 / alone.answers_per_s - split(figures).idle_s
    return max(0.0, unexplained_s) / spans if spans else 0.0


def _check(figures: Figures, run: Drive) -> Check:
    rate = closed_rate(split(figures), run.at_once)
    return Check(run.at_once, rate, figures.answer.offload_share, run)

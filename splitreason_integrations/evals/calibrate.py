"""Find the threshold at which a set of prompts meets a bound on share, cost or accuracy.

Each threshold is measured: the pair answers all prompts with it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.backends.tag_probe import probe
from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.budget import Budget
from splitreason_integrations.evals.calibration_checks import check_prompts, check_taught
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import RESAMPLES, PerPrompt, draw
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import Progress, run_mode
from splitreason_integrations.evals.scalars import TAG, Scalar
from splitreason_integrations.evals.score_check import Signal, check_signal
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.threshold_search import Row, choose, meeting_interval, search
from splitreason_integrations.evals.threshold_search import UnmetGoalError as UnmetGoalError
from splitreason_integrations.loop.choice import untaught_remedy

RUNS = 8


@dataclass(frozen=True)
class Calibration:
    """The chosen threshold, and the measurements at all thresholds.

    Attributes:
        goal: The bound to meet.
        chosen: The row to use.
        threshold_interval: 95 % interval of the threshold at which the metric equals the bound; it
            cannot extend beyond the measured thresholds.
        rows: All measurements, sorted by threshold.
        seed: Seed of the requests and of the bootstrap.
        trigger: What opened the spans, with the chosen threshold.
        close: What ended them, as text.
        signal: How well the trigger's score predicts where the large model is needed; None where
            that was not measured.
        untaught: What to do about a small model that was never taught to mark spans; None for one
            that was.

    """

    goal: Goal
    chosen: Row
    threshold_interval: tuple[float, float]
    rows: tuple[Row, ...]
    seed: int
    trigger: Trigger
    close: str
    signal: Signal | None = None
    untaught: str | None = None

    @property
    def scalar(self) -> Scalar:
        """What was calibrated."""
        return self.chosen.scalar

    @property
    def n(self) -> int:
        """Number of prompts asked at each threshold."""
        return len(self.chosen.prompts.tokens)

    def data(self) -> dict[str, object]:
        """Return the calibration as plain data."""
        return {
            **self.chosen.data(),
            "trigger": str(self.trigger),
            "close": self.close,
            "signal": None if self.signal is None else asdict(self.signal),
            "untaught": self.untaught,
            "goal": {
                "metric": str(self.goal.metric),
                "bound": self.goal.bound,
                "by_point": self.goal.by_point,
            },
            "threshold_interval": list(self.threshold_interval),
            "n": self.n,
            "seed": self.seed,
            "curve": [row.data() for row in self.rows],
        }


def calibrate(
    engine: SplitEngine,
    tasks: Sequence[Task],
    goal: Goal,
    *,
    scalar: Scalar = TAG,
    runs: int = RUNS,
    seed: int = 0,
    resamples: int = RESAMPLES,
    max_tokens: int = 512,
    network: Network | None = None,
    budget: Budget | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Calibration:
    """Find the threshold that meets a goal on these tasks, measured through the engine.

    Args:
        engine: The pair and its policy; its trigger is replaced, or its close rule.
        tasks: The prompts; all of them are asked greedily at each threshold.
        goal: The bound to meet.
        scalar: What to calibrate: one of `scalars.TRIGGERS` or `scalars.CLOSES`.
        runs: Largest number of thresholds to measure.
        seed: Seed of the requests and of the bootstrap.
        resamples: Bootstrap resamples of the prompts, for the intervals.
        max_tokens: Longest reply in tokens, reasoning included.
        network: Where the large model will run; by default latency is reported as measured.
        budget: Limit on what the large model may cost.
        progress: Called with (what runs, prompts done, prompts in all).

    Raises:
        RequestError: There are too few prompts for an interval, an accuracy goal lacks answers, the
            tag is to be calibrated and the small model was never taught to write it, or the
            trigger's score predicts no better than chance where the large model is needed; or the
            limit on the cost is reached.
        UnmetGoalError: No threshold meets the goal; the message gives the best one.
        ConfigurationError: The two models cannot give what a rule needs.
        LargeModelError: The large model failed.

    """
    graded = all(task.answer is not None for task in tasks)
    check_prompts(len(tasks), goal)
    if not goal.is_cap and not graded:
        raise RequestError("a minimum accuracy needs data with an answer in every line")
    small = blocking.run(lambda: load_model(engine.small, role="small"))
    teaching = blocking.run(lambda: probe(small))
    check_taught(scalar, teaching, small.name)
    signal = check_signal(
        engine, tasks, scalar, seed=seed, max_tokens=max_tokens, budget=budget, progress=progress
    )
    closes: set[str] = set()

    def measure(threshold: float) -> PerPrompt:
        rule = scalar.build(threshold)
        result = run_mode(
            "split",
            _with_rule(engine, rule),
            tasks,
            seed=seed,
            max_tokens=max_tokens,
            answers=budget,
            progress=lambda _, done, of: progress(str(rule), done, of),
        )
        closes.update(reply.close for reply in result.replies)
        return PerPrompt.of(result.outcomes, network or Network(), graded=graded)

    picks = draw(len(tasks), resamples=resamples, seed=seed)
    rows = search(measure, goal, picks, runs=runs, scalar=scalar)
    chosen = choose(rows, goal)
    rule = chosen.rule
    return Calibration(
        goal,
        chosen,
        meeting_interval(rows, goal, picks),
        rows,
        seed,
        trigger=rule if isinstance(rule, Trigger) else engine.trigger,
        close=str(rule) if isinstance(rule, CloseRule) else closes.pop(),
        signal=signal,
        untaught=None if teaching.opens else untaught_remedy(small.name),
    )


def _with_rule(engine: SplitEngine, rule: Trigger | CloseRule) -> SplitEngine:
    """Return the engine with another trigger or close rule; a large model that fails raises."""
    if isinstance(rule, Trigger):
        return replace(engine, trigger=rule, on_large_failure="raise")
    return replace(engine, close=rule, on_large_failure="raise")

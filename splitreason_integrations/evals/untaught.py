"""Measure what triggers and close rules that need no training do with an untaught small model.

The bundled `base` never learned to mark spans; it works with the bundled large model, as two
ordinary models do. The taught small model stands beside it, and what its input tokens cost; below
them stands speculative decoding with the same models.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitreason_integrations.backends.hf.spec import TransformersModel
from splitreason_integrations.decide.closing import Agrees, CloseRule, StepEnd, TagClose
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import ModelTerms, Prices
from splitreason_integrations.decide.triggers import (
    Always,
    Confidence,
    Disagreement,
    Entropy,
    Never,
    Random,
    StepEntropy,
    Tag,
    Trigger,
)
from splitreason_integrations.embedded import path
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals import report
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.intervals import resampled
from splitreason_integrations.evals.matching import stages, tune_to
from splitreason_integrations.evals.process_pool import ProcessPool
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import Runner
from splitreason_integrations.evals.speculation import measure_speculation
from splitreason_integrations.evals.tasks import Task, generated

FAMILIES = ("word", "context")
FEWER = 4
"""Rows that are compared at a share, and those of the curve, use this fraction of the problems."""

PROCESSES = 2
INPUT_PRICES = (1 / 10, 1 / 5, 1 / 2)
"""What a token that the large model reads costs, as a part of one that it writes."""

_COUNTING = Policy(
    max_span_tokens=64, models={"*": ModelTerms(prices=Prices(input_usd=1.0, output_usd=0.0))}
)
"""Prices under which a request's cost in millionths is the number of tokens that were read."""

MATCHED: dict[str, Callable[[float], Trigger]] = {
    "entropy": lambda at: Entropy(_short(8.0 * (1e-4 / 8.0) ** at)),
    "confidence": lambda at: Confidence(_short(1 - (1 - at) ** 0.5) if at < 1 else 1.0),
    "step-entropy": lambda at: StepEntropy(_short(8.0 * (1e-6 / 8.0) ** at)),
    "random": lambda at: Random(_short(1e-4 ** (1 - at))),
}
"""Triggers by name, from never (0) to always (1)."""

_CURVE = (0.5, 0.1, 0.01)

Done = Callable[[str, int, int], None]
"""Called with (what is measured, answers done, answers in all)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration: the small model's name, its trigger and close rule, and its figures."""

    small: str
    trigger: str
    close: str
    result: Result
    of_large: tuple[float, float, float]

    @property
    def large_input_tokens(self) -> float:
        """Tokens that the large model reads per answer."""
        replies = self.result.replies
        return sum(reply.cost_usd for reply in replies) * 1e6 / len(replies)

    @property
    def large_output_tokens(self) -> float:
        """Tokens that the large model writes per answer, dropped ones included."""
        replies = self.result.replies
        surplus = sum(span.surplus_tokens for reply in replies for span in reply.spans)
        return (sum(reply.large_tokens for reply in replies) + surplus) / len(replies)

    def cost(self, input_price: float) -> float:
        """Return the large model's cost of an answer, in prices of one written token."""
        return self.large_input_tokens * input_price + self.large_output_tokens

    def data(self) -> dict[str, object]:
        """Return the row as plain data."""
        replies, (ratio, low, high) = self.result.replies, self.of_large
        return {
            "small": self.small,
            "trigger": self.trigger,
            "close": self.close,
            **self.result.data(),
            "accuracy_of_large": ratio,
            "accuracy_of_large_interval": [low, high],
            "spans_per_answer": sum(len(reply.spans) for reply in replies) / len(replies),
            "large_input_tokens": self.large_input_tokens,
            "large_output_tokens": self.large_output_tokens,
            "small_surplus_tokens": sum(r.small_surplus_tokens for r in replies) / len(replies),
            "cost_by_input_price": {f"{price:g}": self.cost(price) for price in INPUT_PRICES},
        }


def measure_untaught(
    *, samples: int, timed: int, seed: int, command: str, on_progress: Done
) -> dict[str, object]:
    """Measure all rows; return them as plain data with hardware, versions and date.

    Args:
        samples: problems of the main rows; a quarter of them for the others.
        timed: problems of the rows that are timed beside speculative decoding.
        seed: seed of the problems.
        command: the command line to publish with the figures.
        on_progress: called with (what is measured, answers done, answers in all).

    """
    with ProcessPool(PROCESSES) as pool:
        bench = _Bench(samples, seed, pool, on_progress)
        main = [
            bench.row("base", Always(), Agrees()),
            bench.row("base", Never(), Agrees()),
            bench.row("base", Disagreement(0.1), Agrees()),
            bench.row("base", Disagreement(0.1), Agrees(2)),
            bench.row("small", Tag(), TagClose()),
            bench.row("small", Tag() | Disagreement(0.1), TagClose()),
        ]
        share = main[2].result.offload_share
        fewer = [
            bench.row("base", Disagreement(below), close, fewer=True)
            for below in _CURVE
            for close in (Agrees(), Agrees(2), Agrees() | StepEnd())
        ]
        fewer += [bench.matched(name, share, Agrees()) for name in MATCHED]
    rows = [row.data() for row in (*main, *fewer)]
    # Timed where nothing else runs: the pool's processes have ended.
    tasks = generated("test", FAMILIES, n=timed, seed=seed)
    speculation = measure_speculation(tasks, seed=seed, on_progress=on_progress)
    return {
        "bench": "untaught",
        "rows": rows,
        "speculation": speculation,
        **report.context(command),
    }


class _Bench:
    def __init__(self, samples: int, seed: int, pool: ProcessPool, on_progress: Done) -> None:
        self._tasks = generated("test", FAMILIES, n=samples, seed=seed)
        # Rows of fewer problems take the first ones: they are to have all families, too.
        random.Random(seed).shuffle(self._tasks)
        self._fewer = -(-samples // FEWER)
        self._seed, self._pool, self._on_progress = seed, pool, on_progress
        self._large: Result | None = None

    def row(self, small: str, trigger: Trigger, close: CloseRule, *, fewer: bool = False) -> Row:
        """Return the figures of one configuration."""
        tasks = self._tasks[: self._fewer] if fewer else self._tasks
        result = self._run(small, trigger, close, tasks)
        if isinstance(trigger, Always):
            self._large = result
        return Row(small, str(trigger), str(close), result, self._of_large(result))

    def matched(self, name: str, share: float, close: CloseRule) -> Row:
        """Return the figures of a trigger whose share is as near to `share` as can be."""
        tasks, trigger_at = self._tasks[: self._fewer], MATCHED[name]

        def measure(at: float, prompts: int) -> tuple[Trigger, Result]:
            trigger = trigger_at(at)
            return trigger, self._run("base", trigger, close, tasks[:prompts])

        trigger, result = tune_to(
            share, measure, lambda done: done[1].offload_share, stages(len(tasks))
        )
        return Row("base", str(trigger), str(close), result, self._of_large(result))

    def _run(self, small: str, trigger: Trigger, close: CloseRule, tasks: Sequence[Task]) -> Result:
        engine = SplitEngine(
            small=TransformersModel(str(path("base")), taught=False)
            if small == "base"
            else "embedded",
            large="embedded",
            trigger=trigger,
            close=close,
            policy=_COUNTING,
            telemetry=None,
        )
        runner = Runner(
            tasks=tasks,
            asking=Asking(seed=self._seed),
            concurrency=PROCESSES,
            process_pool=self._pool,
            progress=lambda _, done, of: self._on_progress(f"{small} {trigger}", done, of),
        )
        return replace(runner.run("split", engine), small=small)

    def _of_large(self, result: Result) -> tuple[float, float, float]:
        """Return accuracy ÷ the large model's on the same problems, with its paired interval."""
        if self._large is None:
            return (0.0, 0.0, 0.0)
        pairs = [
            (float(mine.right), float(theirs.right))
            for mine, theirs in zip(result.outcomes, self._large.outcomes, strict=False)
        ]
        low, high = resampled(
            np.array(pairs), lambda sums: sums[:, 0] / sums[:, 1], seed=self._seed
        )
        return sum(one for one, _ in pairs) / sum(one for _, one in pairs), low, high


def _short(value: float) -> float:
    return float(f"{value:.6g}")

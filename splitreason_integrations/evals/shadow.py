"""Estimate what offloading would cost, from a run of the small model alone.

One run serves all triggers, and the large model is not loaded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from operator import or_

import numpy as np

from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import Position, Shadow, Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.evals.answering import ask
from splitreason_integrations.evals.metrics import (
    Figures,
    Metric,
    PerPrompt,
    Picks,
    draw,
    figures,
)
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import Progress, run_mode
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion


@dataclass(frozen=True)
class Watched:
    """A reply of the small model alone, and the positions that its triggers evaluated.

    Attributes:
        reply: The small model's reply.
        positions: Every position at which a trigger could have opened a span.

    """

    reply: Completion
    positions: tuple[Position, ...]

    def handoffs(self, trigger: Trigger) -> list[int]:
        """Return the token indices at which a trigger would have opened spans.

        Adjacent positions at which it fires count as one handoff: the first would open the span,
        and the large model would have written the others.
        """
        fired = sorted({at.index for at in self.positions if trigger.fires(at)})
        return fired[:1] + [here for before, here in pairwise(fired) if here > before + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Assumed cost of a handoff.

    Attributes:
        span_tokens: Tokens of an average span.
        prices: Prices of the large model.
        network: Where the large model runs; without a speed, a handoff adds its round trip only.

    Raises:
        ConfigurationError: `span_tokens` is not above 0.

    """

    span_tokens: float
    prices: Prices = field(default_factory=Prices)
    network: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        if not self.span_tokens > 0:
            raise ConfigurationError(f"span_tokens must be above 0, got {self.span_tokens}")


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one trigger.

    Attributes:
        trigger: The trigger.
        figures: Handoffs, share, cost and latency, with intervals.
        large_tokens: Mean large-model tokens per request.
        added_s: Mean seconds that handoffs add per request.

    """

    trigger: Trigger
    figures: Figures
    large_tokens: float
    added_s: float

    def data(self) -> dict[str, object]:
        """Return the estimate as plain data; `interval` is the interval of the share."""
        handoffs, share = self.figures[Metric.HANDOFFS], self.figures[Metric.SHARE]
        return {
            "trigger": str(self.trigger),
            "handoffs": handoffs.value,
            "handoffs_interval": handoffs.interval,
            "large_tokens": self.large_tokens,
            "offload_share": share.value,
            "interval": share.interval,
            "usd_per_1k": self.figures[Metric.USD].value,
            "usd_per_1k_interval": self.figures[Metric.USD].interval,
            "added_latency_s": self.added_s,
            "latency_s": {
                "p50": self.figures[Metric.LATENCY_P50].value,
                "p95": self.figures[Metric.LATENCY_P95].value,
            },
        }


@dataclass(frozen=True)
class ShadowReport:
    """Estimates for several triggers from one run.

    Attributes:
        estimates: One per trigger.
        n: Number of requests.
        small_tokens: Mean tokens per request of the small model.
        small_s: Mean seconds per request of the small model.
        span_tokens: Assumed tokens of a span.
        seed: Seed of the requests and of the bootstrap.

    """

    estimates: tuple[Estimate, ...]
    n: int
    small_tokens: float
    small_s: float
    span_tokens: float
    seed: int

    def data(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {
            "n": self.n,
            "small_tokens": self.small_tokens,
            "small_s": self.small_s,
            "span_tokens": self.span_tokens,
            "seed": self.seed,
            "estimates": [estimate.data() for estimate in self.estimates],
        }


def shadow(
    engine: SplitEngine,
    tasks: Sequence[Task],
    triggers: Sequence[Trigger],
    plan: Plan,
    *,
    seed: int = 0,
    max_tokens: int = 512,
    progress: Progress = lambda what, done, of: None,
) -> ShadowReport:
    """Estimate what each trigger would have cost, from one run of the small model alone.

    Where a trigger fires the small model writes on, its tags suppressed. Each would-be handoff adds
    `plan.span_tokens`; the large model reads everything before the last handoff once. Caps of the
    engine's policy are not applied.

    Args:
        engine: Its small model is used.
        tasks: The prompts, asked greedily; answers are ignored.
        triggers: The triggers to estimate, each by itself.
        plan: Cost of a handoff; `mean_span_tokens` measures the tokens of a span.
        seed: Seed of the requests and of the bootstrap.
        max_tokens: Longest reply in tokens, reasoning included.
        progress: Called with (what runs, prompts done, prompts in all).

    Raises:
        RequestError: There are no tasks or no triggers, or a trigger offloads the whole reply.

    """
    if not tasks or not triggers:
        raise RequestError("shadow needs at least one prompt and one trigger")
    if not all(trigger.hands_back for trigger in triggers):
        raise RequestError("shadow counts spans; always has the large model write the whole reply")
    watched = watch(engine, tasks, triggers, seed=seed, max_tokens=max_tokens, progress=progress)
    picks = draw(len(tasks), seed=seed)
    return ShadowReport(
        estimates=tuple(_estimate(trigger, watched, plan, picks) for trigger in triggers),
        n=len(tasks),
        small_tokens=float(np.mean([one.reply.small_tokens for one in watched])),
        small_s=float(np.mean([one.reply.latency_s for one in watched])),
        span_tokens=plan.span_tokens,
        seed=seed,
    )


def watch(
    engine: SplitEngine,
    tasks: Sequence[Task],
    triggers: Iterable[Trigger],
    *,
    seed: int,
    max_tokens: int = 512,
    progress: Progress = lambda what, done, of: None,
) -> list[Watched]:
    """Return the small model's replies, and all positions that the triggers evaluated."""
    small = blocking.run(lambda: load_model(engine.small, role="small"))
    joined = reduce(or_, triggers)
    watched = []
    for done, task in enumerate(tasks):
        progress("shadow", done, len(tasks))
        positions: list[Position] = []
        # The small model also takes the large one's place, so that no large model is loaded.
        alone = replace(
            engine,
            small=small,
            large=small,
            trigger=Shadow(joined, positions.append),
            policy=Policy(),
        )
        reply = ask(alone, task.messages, task.tools, seed=seed + done, max_tokens=max_tokens)
        watched.append(Watched(reply, tuple(positions)))
    progress("shadow", len(tasks), len(tasks))
    return watched


def mean_span_tokens(
    engine: SplitEngine,
    tasks: Sequence[Task],
    triggers: Iterable[Trigger],
    *,
    seed: int = 0,
    max_tokens: int = 512,
    progress: Progress = lambda what, done, of: None,
) -> float:
    """Return the mean span length in tokens, from a run of both models on a few tasks.

    Raises:
        RequestError: No span opened.
        LargeModelError: The large model failed.

    """
    both = replace(engine, trigger=reduce(or_, triggers), on_large_failure="raise")
    result = run_mode("split", both, tasks, seed=seed, max_tokens=max_tokens, progress=progress)
    spans = [span.tokens for reply in result.replies for span in reply.spans]
    if not spans:
        raise RequestError(
            f"no span opened in {len(tasks)} sample requests: sample more, or give the tokens of "
            "a span yourself"
        )
    return float(np.mean(spans))


def _estimate(trigger: Trigger, watched: Sequence[Watched], plan: Plan, picks: Picks) -> Estimate:
    places = [one.handoffs(trigger) for one in watched]
    replies = [one.reply for one in watched]
    handoffs = np.array([len(some) for some in places], dtype=np.float64)
    large = np.rint(handoffs * plan.span_tokens)
    added_s = np.array(
        [
            plan.network.large_s(handoffs=len(some), tokens=int(tokens), measured_s=0.0)
            for some, tokens in zip(places, large, strict=True)
        ]
    )
    prompts = PerPrompt(
        handoffs=handoffs,
        large_tokens=large,
        tokens=large + np.array([reply.small_tokens for reply in replies]),
        usd=np.array(
            [
                reply.cost_usd + _large_usd(reply, some, int(tokens), plan.prices)
                for reply, some, tokens in zip(replies, places, large, strict=True)
            ]
        ),
        latency_s=added_s + np.array([reply.latency_s for reply in replies]),
    )
    return Estimate(trigger, figures(prompts, picks), float(large.mean()), float(added_s.mean()))


def _large_usd(reply: Completion, places: Sequence[int], tokens: int, prices: Prices) -> float:
    read = reply.prompt_tokens + places[-1] if places else 0
    return prices.cost_usd(input_tokens=read, output_tokens=tokens)

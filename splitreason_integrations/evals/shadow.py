"""Estimate what offloading would cost, from a run of the small model alone.

One run serves all triggers. The large model is loaded only where a trigger or a close rule needs it
to read along, and for a pilot.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from splitreason_integrations import blocking
from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.registry import line_up, load_model
from splitreason_integrations.backends.tag_probe import Teaching, probe
from splitreason_integrations.decide.closing import AutoClose, StepEnd
from splitreason_integrations.decide.triggers import (
    Confidence,
    Disagreement,
    Entropy,
    Needs,
    StepEntropy,
    Tag,
    Trigger,
)
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.budget import Budget, prices_of
from splitreason_integrations.evals.estimates import Estimate, Plan, ShadowReport
from splitreason_integrations.evals.forecast import Forecast, Replay, replay_close
from splitreason_integrations.evals.metrics import Metric, PerPrompt, draw
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.pilot import (
    Pilot,
    corrected_mean,
    forecast_figures,
    pilot_numbers,
)
from splitreason_integrations.evals.runner import Progress, run_mode
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.watching import Watched, needs_of, watch
from splitreason_integrations.loop.choice import Rules, Situation, choose, untaught_remedy

TAUGHT_TRIGGERS = (Tag(0.99), Tag(0.9), Tag(0.5), Tag(0.1))
"""Estimated by default where the small model was taught to mark spans."""

UNTAUGHT_TRIGGERS = (Disagreement(0.1), Entropy(1.5), Confidence(0.4), StepEntropy(1.2))
"""Estimated by default where it was not; without a large model to read along, all but the first."""


def shadow(
    engine: SplitEngine,
    tasks: Sequence[Task],
    triggers: Sequence[Trigger] = (),
    plan: Plan | None = None,
    *,
    seed: int = 0,
    max_tokens: int = 512,
    budget: Budget | None = None,
    progress: Progress = lambda what, done, of: None,
) -> ShadowReport:
    """Estimate what each trigger would have cost, from one run of the small model alone.

    Where a trigger fires the small model writes on, its tags suppressed. The reply is then replayed
    for each trigger: a span replaces the small model's tokens from there to where the close rule
    ends it, and the gaps and caps of the engine's policy hold. What would really follow a span is
    another text than the small model's own: with untaught models the replay alone forecasts too
    little, and `plan.pilot` corrects it by a few prompts on which both models run.

    Args:
        engine: The pair, its close rule and its policy; without a close rule, that which suits the
            small model.
        tasks: The prompts, asked greedily; answers are ignored.
        triggers: The triggers to estimate, each by itself; empty for those that suit the small
            model.
        plan: Length and price of spans, and the pilot.
        seed: Seed of the requests and of the bootstrap.
        max_tokens: Longest reply in tokens, reasoning included.
        budget: Limit on what the large model may cost.
        progress: Called with (what runs, prompts done, prompts in all).

    Raises:
        RequestError: There are no tasks, a trigger offloads the whole reply, or a rule needs the
            large model to read, and the plan does not allow that; or the limit on the cost is
            reached.
        ConfigurationError: The two models cannot give what a rule needs.
        LargeModelError: The large model failed in the pilot.

    """
    plan = plan or Plan()
    if not tasks:
        raise RequestError("shadow needs at least one prompt")
    if not all(trigger.hands_back for trigger in triggers):
        raise RequestError("shadow counts spans; always has the large model write the whole reply")
    small = blocking.run(lambda: load_model(engine.small, role="small"))
    teaching = blocking.run(lambda: probe(small))
    engine = replace(engine, policy=plan.with_prices(engine.policy.for_request({})))
    triggers = triggers or _default_triggers(teaching, plan)
    rules = _rules(engine, small, teaching, triggers, plan)
    watched = watch(
        engine,
        tasks,
        [one.trigger for one in rules],
        closes=[one.close for one in rules],
        seed=seed,
        max_tokens=max_tokens,
        budget=budget,
        progress=progress,
    )
    estimates = []
    for one in rules:
        replay = _replay(engine, one, teaching, plan, max_tokens=max_tokens)
        pilot = _pilot(
            engine,
            one,
            tasks,
            plan,
            seed=seed,
            max_tokens=max_tokens,
            budget=budget,
            progress=progress,
        )
        estimates.append(_estimate(one, watched, replay, plan, pilot, seed))
    return ShadowReport(
        estimates=tuple(estimates),
        n=len(tasks),
        small_tokens=float(np.mean([one.reply.small_tokens for one in watched])),
        small_s=float(np.mean([one.reply.latency_s for one in watched])),
        span_tokens=plan.span_tokens,
        pilot=min(plan.pilot, len(tasks)),
        seed=seed,
        untaught=None if teaching.opens else untaught_remedy(small.name),
    )


def _default_triggers(teaching: Teaching, plan: Plan) -> Sequence[Trigger]:
    if teaching.opens:
        return TAUGHT_TRIGGERS
    return UNTAUGHT_TRIGGERS[0 if plan.reads_along else 1 :]


def _rules(
    engine: SplitEngine,
    small: Model,
    teaching: Teaching,
    triggers: Sequence[Trigger],
    plan: Plan,
) -> list[Rules]:
    """Return what the engine would open and end spans with, for each trigger."""
    close = engine.close or AutoClose()
    if close.is_auto and not teaching.closes and not plan.reads_along:
        close = StepEnd()
    reads = Needs.LARGE in needs_of(close) or (close.is_auto and not teaching.closes)
    reads |= any(Needs.LARGE in one.needs or one.is_auto for one in triggers)
    large = None
    if plan.reads_along and (reads or plan.pilot):
        large = blocking.run(lambda: load_model(line_up(engine.large)[0], role="large"))
    here = Situation(small=small, large=large, teaching=teaching, asks_first=False)
    found = [
        choose(Rules(trigger=one, close=close, policy=engine.policy), here) for one in triggers
    ]
    for one in found:
        if not plan.reads_along and Needs.LARGE in one.trigger.needs | needs_of(one.close):
            raise RequestError(
                f"{one.trigger} with the close rule {one.close} needs the large model to read what "
                "the small one writes: name it with --large, or use others, such as "
                "--trigger entropy>1.5 --close step"
            )
    return found


def _replay(
    engine: SplitEngine, rules: Rules, teaching: Teaching, plan: Plan, *, max_tokens: int
) -> Replay:
    """Return the replay that forecasts what the engine would do with these rules."""
    return Replay(
        trigger=rules.trigger,
        close=replay_close(rules.close, closes=teaching.closes),
        policy=rules.policy,
        prices=prices_of(engine) or plan.prices,
        span_tokens=None if plan.span_tokens is None else max(1, round(plan.span_tokens)),
        chunk_tokens=engine.handback_tokens,
        max_tokens=max_tokens,
    )


def _pilot(
    engine: SplitEngine,
    rules: Rules,
    tasks: Sequence[Task],
    plan: Plan,
    *,
    seed: int,
    max_tokens: int,
    budget: Budget | None,
    progress: Progress,
) -> Pilot | None:
    """Have both models run on some of the prompts."""
    numbers = pilot_numbers(len(tasks), plan.pilot)
    if not numbers:
        return None
    both = replace(
        engine,
        trigger=rules.trigger,
        close=rules.close,
        policy=rules.policy,
        on_large_failure="raise",
    )
    real = run_mode(
        "split",
        both,
        [tasks[number] for number in numbers],
        seed=seed,
        max_tokens=max_tokens,
        answers=budget,
        progress=lambda _, done, of: progress(str(rules.trigger), done, of),
    )
    return Pilot(numbers, PerPrompt.of(real.outcomes, plan.network, graded=False))


def _estimate(
    rules: Rules,
    watched: Sequence[Watched],
    replay: Replay,
    plan: Plan,
    pilot: Pilot | None,
    seed: int,
) -> Estimate:
    replayed = [replay.forecast(one) for one in watched]
    added_s = [_added_s(one, plan.network) for one in replayed]
    forecast = PerPrompt(
        handoffs=np.array([len(one.openings) for one in replayed], dtype=np.float64),
        large_tokens=np.array([one.large_tokens for one in replayed], dtype=np.float64),
        tokens=np.array([one.large_tokens + one.small_tokens for one in replayed], np.float64),
        usd=np.array([one.large_usd for one in replayed])
        + np.array([one.reply.cost_usd - one.reply.read_ahead_usd for one in watched]),
        latency_s=np.array(added_s) + np.array([one.reply.latency_s for one in watched]),
    )
    figures = forecast_figures(forecast, pilot, draw(len(watched), seed=seed))
    tokens = corrected_mean(forecast, pilot, "large_tokens")
    seconds = plan.network.large_s(
        handoffs=figures[Metric.HANDOFFS].value, tokens=tokens, measured_s=0.0
    )
    return Estimate(
        rules.trigger,
        rules.close,
        figures,
        tokens,
        seconds,
        0 if pilot is None else len(pilot.numbers),
    )


def _added_s(forecast: Forecast, network: Network) -> float:
    return network.large_s(
        handoffs=len(forecast.openings), tokens=forecast.large_tokens, measured_s=0.0
    )

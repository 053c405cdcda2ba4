"""Find out on a set of prompts whether two models should share replies, and by which trigger.

Both models alone, the learned tag and the triggers that need no training answer the same prompts;
all are compared in pairs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain

from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import public_name
from splitreason_integrations.backends.tag_probe import probe
from splitreason_integrations.decide.pricing import ModelTerms, Prices
from splitreason_integrations.decide.triggers import Auto, Position, Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.agreement import Likeness, agreeing, final_text, likeness_for
from splitreason_integrations.evals.budget import Budget, check_limit, forecast_usd, prices_of
from splitreason_integrations.evals.candidates import (
    POLICY,
    Candidates,
    Family,
    candidates,
)
from splitreason_integrations.evals.intervals import wilson
from splitreason_integrations.evals.matching import tune_to
from splitreason_integrations.evals.recommendation import Recommendation, score_name
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import Runner
from splitreason_integrations.evals.verdict import (
    Trial,
    adds_something,
    conclude,
    steps_before_use,
    trial,
)
from splitreason_integrations.evals.watching import watch
from splitreason_integrations.loop.choice import DISAGREEMENT, MOST_SHARE, Situation

FEWEST = 30
"""Fewest prompts: with 30 the interval of a share of one half is 34 points wide."""

RELATIVE = Prices(input_usd=0.2, output_usd=1.0)
"""Assumed where no price is known: a token that is read costs a fifth of one that is written."""

_PILOT = 16
"""Prompts on which a threshold is looked for."""
_TOLERANCE = 0.25
"""Largest relative error at which the share that was asked for counts as reached."""
_SPREAD = 8.0
"""How far from the forecast rate of openings thresholds are looked for, as a factor."""
_SPAN_TOKENS = 8.0
"""Tokens of a span, where no span was measured."""


def check_prompts(runner: Runner) -> None:
    """Refuse too few prompts.

    Raises:
        RequestError: There are fewer than `FEWEST`.

    """
    n = len(runner.tasks)
    if n < FEWEST:
        low, high = wilson(FEWEST / 2, FEWEST)
        raise RequestError(
            f"{n} prompts are too few for a verdict: bring {FEWEST} or more ({FEWEST - n} are "
            f"missing); with {FEWEST} an interval is up to ±{50 * (high - low):.0f} points wide"
        )


def recommend(
    runner: Runner,
    engine: SplitEngine,
    *,
    share: float | None = None,
    likeness: Likeness | None = None,
    max_usd: float | None = None,
    on_forecast: Callable[[float], None] = lambda about_usd: None,
) -> Recommendation:
    """Try two models on the runner's prompts, and conclude.

    Args:
        runner: The prompts and how they are asked. Where one of them lacks its answer, agreement
            with the large model's own answers takes the place of accuracy.
        engine: The pair. Its trigger, close rule and policy are not used.
        share: Offload share for which thresholds are set; by default that of `disagreement`, else
            that of the tag.
        likeness: How answers are compared with the large model's; by default chosen by its answers.
        max_usd: Limit on what the large model costs; needed where its tokens have a price.
        on_forecast: Called with about what it will cost in USD, before it is called.

    Raises:
        RequestError: There are too few prompts, or the cost is not allowed.
        LargeModelError: The large model failed.

    """
    check_prompts(runner)
    search = _Search(runner, engine, share, likeness)
    return search.run(on_forecast, max_usd)


class _Search:
    def __init__(
        self,
        runner: Runner,
        engine: SplitEngine,
        share: float | None,
        likeness: Likeness | None,
    ) -> None:
        self._runner = runner
        self._own_prices = prices_of(engine)
        self._prices = self._own_prices or RELATIVE
        # Where no price is known, the large model's work is counted in relative ones.
        policy = replace(POLICY, models={"*": ModelTerms(prices=self._prices)})
        self._engine = replace(
            engine, trigger=Auto(), close=None, policy=policy, on_large_failure="raise"
        )
        self._share = share
        self._graded = all(task.answer is not None for task in runner.tasks)
        self._likeness = likeness
        self._left_out: list[tuple[str, str]] = []

    def run(self, on_forecast: Callable[[float], None], max_usd: float | None) -> Recommendation:
        """Run everything that the verdict needs."""
        tries = candidates(self._engine, _situation(self._engine))
        self._left_out += tries.left_out
        small = self._runner.run("small", self._engine)
        self._allow(small, tries, on_forecast, max_usd)
        self._large = self._runner.run("large", self._engine)
        if not self._graded and self._likeness is None:
            self._likeness = likeness_for([final_text(one) for one in self._large.outcomes])
        self._small = self._scored(small)
        self._large = self._scored(self._large)
        alone = [trial(one, self._small, self._large) for one in (self._small, self._large)]
        tried = list[Trial]()
        if adds_something(alone[1]):
            tried = self._fixed(tries)
            tried += self._matched(tries, tried)
        else:
            names = [*(str(one.trigger) for one in tries.fixed), *(f.name for f in tries.matched)]
            self._left_out.append((", ".join(names), "the large model alone adds nothing certain"))
        verdict = conclude(alone[0], alone[1], tried, score=score_name(self._compared))
        longest = self._runner.asking.max_tokens
        steps = steps_before_use(alone[0], alone[1], graded=self._graded, max_tokens=longest)
        return Recommendation(
            alone[0],
            alone[1],
            tuple(tried),
            tuple(self._left_out),
            replace(verdict, steps=(*steps, *verdict.steps)),
            self._compared,
            self._prices,
            is_priced=self._own_prices is not None,
            share_asked=self._share if tried and tries.matched else None,
        )

    @property
    def _compared(self) -> Likeness | None:
        return None if self._graded else self._likeness

    def _allow(
        self,
        small: Result,
        tries: Candidates,
        on_forecast: Callable[[float], None],
        max_usd: float | None,
    ) -> None:
        """Refuse to spend without permission, and keep to the limit from here on."""
        if self._own_prices is None:
            if max_usd is not None:
                raise RequestError("--max-usd needs --large-input-usd or --large-output-usd")
            return
        about = forecast_usd(
            small.outcomes,
            self._prices,
            fixed=len(tries.fixed),
            matched=len(tries.matched),
        )
        journal = self._runner.journal
        spent = journal.spent_usd if journal else 0.0
        limit_usd = check_limit(about, max_usd, spent_usd=spent)
        on_forecast(about)
        budget = Budget(
            limit_usd,
            spent_usd=spent,
            answers=self._runner.process_pool,
            keeps_answers=journal is not None,
        )
        self._runner = replace(self._runner, process_pool=budget)

    def _fixed(self, tries: Candidates) -> list[Trial]:
        prompts = len(self._runner.tasks)
        return [
            self._compared_trial(engine, self._answered(engine, prompts)) for engine in tries.fixed
        ]

    def _matched(self, tries: Candidates, tried: list[Trial]) -> list[Trial]:
        """Try the triggers whose threshold has to be set so that they offload as much."""
        if not tries.matched:
            return []
        by_name = {one.result.trigger: one.result for one in tried}
        model = by_name.get(str(DISAGREEMENT)) or next(iter(by_name.values()), None)
        if self._share is None:
            reached = model.offload_share if model else 0.0
            self._share = reached if 0 < reached < 1 else MOST_SHARE
        positions, span_tokens = self._positions(tries), _mean_span_tokens(model)
        return [
            self._tuned(family, tries, positions, self._share / (1 - self._share) / span_tokens)
            for family in tries.matched
        ]

    def _positions(self, tries: Candidates) -> list[Position]:
        """Return what the small model alone gives its tokens on a few prompts."""
        widest: list[Trigger] = [family.make(family.loosest) for family in tries.matched]
        asking = self._runner.asking
        watched = watch(
            self._engine,
            self._runner.tasks[:_PILOT],
            widest,
            seed=asking.seed,
            max_tokens=asking.max_tokens,
            progress=lambda _, done, of: self._runner.progress("small, watched", done, of),
        )
        return list(chain.from_iterable(one.positions for one in watched))

    def _tuned(
        self, family: Family, tries: Candidates, positions: list[Position], rate: float
    ) -> Trial:
        """Try a family with the threshold that reaches the share.

        Args:
            family: The family.
            tries: What can be tried.
            positions: What the small model alone gives its tokens.
            rate: About how many spans open per token at the share.

        """

        def measure(at: float, prompts: int) -> tuple[SplitEngine, Result]:
            here = min(1.0, rate * _SPREAD ** (2 * at - 1))
            engine = tries.with_trigger(family.at_rate(positions, here))
            return engine, self._answered(engine, prompts)

        assert self._share is not None, "the share to match is known"
        engine, result = tune_to(
            self._share,
            measure,
            lambda one: one[1].offload_share,
            [_PILOT, len(self._runner.tasks)],
            tolerance=_TOLERANCE,
            last_steps=1,
        )
        return self._compared_trial(engine, result)

    def _answered(self, engine: SplitEngine, prompts: int) -> Result:
        """Answer the first so many prompts with a trigger; finished answers are not asked again."""
        runner, all_of_them = self._runner, len(self._runner.tasks)
        what = str(engine.trigger) if prompts == all_of_them else f"matching {engine.trigger}"
        return replace(
            runner,
            tasks=runner.tasks[:prompts],
            progress=lambda _, done, of: runner.progress(what, done, of),
        ).run("split", engine)

    def _compared_trial(self, engine: SplitEngine, result: Result) -> Trial:
        named = replace(self._scored(result), mode=str(engine.trigger))
        return trial(named, self._small, self._large, close=_bare(str(engine.close)))

    def _scored(self, result: Result) -> Result:
        if self._graded:
            return result
        assert self._likeness is not None, "chosen from the large model's answers"
        return agreeing(result, self._large, self._likeness)


def _situation(engine: SplitEngine) -> Situation:
    async def look() -> Situation:
        small, large = await engine.models()
        return Situation(small=small, large=large, teaching=await probe(small), asks_first=False)

    return blocking.run(look)


def _mean_span_tokens(result: Result | None) -> float:
    spans = [span.tokens for reply in result.replies for span in reply.spans] if result else []
    return max(1.0, sum(spans) / len(spans)) if spans else _SPAN_TOKENS


def names_of(engine: SplitEngine) -> Mapping[str, str]:
    """Return the names of both models, to publish."""
    return {"small": public_name(engine.small), "large": public_name(engine.large)}


def _bare(text: str) -> str:
    """Return the text of a rule without parentheses around the whole of it."""
    return text[1:-1] if text.startswith("(") and text.find(")") == len(text) - 1 else text

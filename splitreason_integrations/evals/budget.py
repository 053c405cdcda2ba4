"""What runs of the large model cost: a forecast before it is called, and a limit on it."""

from collections.abc import Iterable, Sequence

from splitreason_integrations.backends.registry import line_up, name_and_prices
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.answering import Asking, Outcome, answer_task
from splitreason_integrations.evals.runner import Answers
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion

_SHARE = 0.25
"""Assumed offload share of everything but the large model alone."""

_REPEATS = 2.0
"""How often a matched trigger is assumed to read the prompts: on all, and on some with thresholds
that are not used."""


def prices_of(engine: SplitEngine) -> Prices | None:
    """Return the first large model's own prices, without loading it; None where it has none."""
    _, prices = name_and_prices(line_up(engine.large)[0])
    return None if prices == Prices() else prices


class Budget:
    """Answers tasks up to a limit on cost. What earlier runs spent counts too.

    Answers in progress when the limit is reached are finished, so that it can be exceeded by them.

    Args:
        max_usd: The limit.
        spent_usd: What was spent before.
        answers: Answers instead of this process.
        keeps_answers: Whether finished answers are stored, so that the same command goes on.

    """

    def __init__(
        self,
        max_usd: float,
        *,
        spent_usd: float = 0.0,
        answers: Answers | None = None,
        keeps_answers: bool = False,
    ) -> None:
        self._max_usd = max_usd
        self._spent_usd = spent_usd
        self._answers = answers
        self._keeps_answers = keeps_answers

    async def answer_task(
        self, engine: SplitEngine, task: Task, asking: Asking, seed: int
    ) -> Outcome:
        """Answer one task.

        Raises:
            RequestError: The limit is reached.

        """
        self.check()
        if self._answers is None:
            await engine.models()
            outcome = await answer_task(engine, task, asking, seed)
        else:
            outcome = await self._answers.answer_task(engine, task, asking, seed)
        self.spend(outcome.replies)
        return outcome

    def check(self) -> None:
        """Raise RequestError where the limit is reached."""
        if self._spent_usd < self._max_usd:
            return
        spent = f"--max-usd is reached: {self._spent_usd:.4g} USD are spent"
        if self._keeps_answers:
            raise RequestError(
                f"{spent}; finished answers are kept: the same command with a higher --max-usd "
                "goes on"
            )
        raise RequestError(
            f"{spent}: allow more with --max-usd, or use fewer prompts with --samples"
        )

    def spend(self, replies: Iterable[Completion]) -> None:
        """Count what replies cost."""
        self._spent_usd += sum(reply.cost_usd for reply in replies)


def budget_for(engine: SplitEngine, max_usd: float | None) -> Budget | None:
    """Return the limit that a user set on the cost of a run; None for none.

    Raises:
        RequestError: The large model has no prices, so that the limit could not hold.

    """
    if max_usd is None:
        return None
    if prices_of(engine) is None:
        raise RequestError("--max-usd needs --large-input-usd or --large-output-usd")
    return Budget(max_usd)


def forecast_usd(small: Sequence[Outcome], prices: Prices, *, fixed: int, matched: int) -> float:
    """Return about what the runs with the large model will cost, from the small model's replies.

    Args:
        small: The small model's answers, taken to be as long as all others.
        prices: What the large model's tokens cost.
        fixed: How many triggers are tried without looking for a threshold.
        matched: How many with.

    """
    read = sum(reply.prompt_tokens for outcome in small for reply in outcome.replies)
    written = sum(reply.tokens for outcome in small for reply in outcome.replies)
    alone = prices.cost_usd(input_tokens=read, output_tokens=written)
    split = prices.cost_usd(input_tokens=read + written, output_tokens=_SHARE * written)
    return alone + (fixed + _REPEATS * matched) * split


def check_limit(about_usd: float, max_usd: float | None, *, spent_usd: float) -> float:
    """Return the limit on cost; refuse to spend what nobody allowed.

    Args:
        about_usd: The forecast.
        max_usd: The limit, if there is one.
        spent_usd: What earlier runs spent.

    Raises:
        RequestError: No limit is given, or a lower one than the forecast.

    """
    if max_usd is not None and about_usd <= max_usd:
        return max_usd
    more = "" if max_usd is None else f", more than --max-usd {max_usd:g}"
    raise RequestError(
        f"the runs with the large model will cost about {about_usd:.3g} USD{more}, of which "
        f"{spent_usd:.3g} are spent: allow it with --max-usd {2 * about_usd:.2g}, which leaves "
        "room for longer replies, or use fewer prompts with --samples"
    )

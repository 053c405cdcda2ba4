"""A run of the small model alone, with all that triggers and close rules know of each token.

Where a rule needs the large model, that one reads along and never writes. One run serves all rules.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import or_

from splitreason_integrations import blocking
from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.decide.closing import CloseNeeds, CloseRule, StepEnd
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Needs, Position, Shadow, Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.answering import ask
from splitreason_integrations.evals.budget import Budget
from splitreason_integrations.evals.runner import Progress
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion, token_ids


@dataclass(frozen=True)
class Watched:
    """A reply of the small model alone, and what is known of its tokens.

    Attributes:
        reply: The small model's reply.
        positions: Every position at which a trigger could have opened a span. A token may have
            several: where the tag was chosen and then suppressed.
        texts: The reply's text before each token, and after the last one.

    """

    reply: Completion
    positions: tuple[Position, ...]
    texts: tuple[str, ...] = ()

    @cached_property
    def at(self) -> Mapping[int, Sequence[Position]]:
        """The positions by token index."""
        found: dict[int, list[Position]] = defaultdict(list)
        for position in self.positions:
            found[position.index].append(position)
        return found

    def opening(self, trigger: Trigger, index: int) -> Position | None:
        """Return the position of a token at which a trigger fires; None where it does not."""
        return next((at for at in self.at.get(index, ()) if trigger.fires(at)), None)

    def last(self, index: int) -> Position | None:
        """Return what is known of the token that was written at an index."""
        known = self.at.get(index)
        return known[-1] if known else None


@dataclass(frozen=True)
class _Observed(Shadow):
    """A `Shadow` that has more facts computed than its trigger needs.

    Attributes:
        also: Further needs. With `Needs.LARGE` the large model is loaded and reads along.

    """

    also: Needs = Needs.NOTHING

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the observed trigger and the close rules need."""
        return self.inner.needs | self.also

    @property
    def opens_spans(self) -> bool:  # type: ignore[override]
        """Whether the large model is needed."""
        return Needs.LARGE in self.needs


def needs_of(close: CloseRule) -> Needs:
    """Return which facts of positions take the place of those that a close rule needs.

    The large model is not asked to write the span that the small one would read along. Instead it
    reads what the small one wrote: where it would have written that, too, the two agree.
    """
    needs = Needs.NOTHING
    if CloseNeeds.OWN in close.needs:
        needs |= Needs.LARGE | Needs.CONFIDENCE
    if CloseNeeds.ENTROPY in close.needs:
        needs |= Needs.ENTROPY
    return needs


def watch(
    engine: SplitEngine,
    tasks: Sequence[Task],
    triggers: Iterable[Trigger],
    *,
    closes: Iterable[CloseRule] = (),
    also: Needs = Needs.NOTHING,
    seed: int = 0,
    max_tokens: int = 512,
    budget: Budget | None = None,
    progress: Progress = lambda what, done, of: None,
) -> list[Watched]:
    """Return the small model's replies, and all that the rules would know of their tokens.

    The large model is loaded only where a rule needs it to read along.

    Args:
        engine: The pair; its trigger, close rule and policy are not used.
        tasks: The prompts, asked greedily.
        triggers: The triggers whose needs are observed.
        closes: The close rules whose needs are observed.
        also: Further facts of positions that are wanted.
        seed: Seed of the requests.
        max_tokens: Longest reply in tokens, reasoning included.
        budget: Limit on what it costs that the large model reads along.
        progress: Called with (what runs, prompts done, prompts in all).

    Raises:
        ConfigurationError: The two models cannot give what the rules need.
        RequestError: The limit on the cost is reached.

    """
    small = blocking.run(lambda: load_model(engine.small, role="small"))
    for close in closes:
        also |= needs_of(close)
    joined = _Observed(reduce(or_, triggers), lambda at: None, also)
    # Without a large model to read along, the small one takes its place and is not used.
    alone = replace(
        engine,
        small=small,
        large=engine.large if joined.opens_spans else small,
        close=StepEnd(),
        policy=Policy(),
        human_check=None,
        on_large_failure="raise",
    )
    watched = []
    for done, task in enumerate(tasks):
        progress("shadow", done, len(tasks))
        positions: list[Position] = []
        if budget is not None:
            budget.check()
        noting = replace(alone, trigger=replace(joined, note=positions.append))
        reply = ask(noting, task.messages, task.tools, seed=seed + done, max_tokens=max_tokens)
        if budget is not None:
            budget.spend([reply])
        watched.append(Watched(reply, tuple(positions), _texts(small, reply)))
    progress("shadow", len(tasks), len(tasks))
    return watched


def _texts(small: Model, reply: Completion) -> tuple[str, ...]:
    stream, texts = small.codec.text_stream(), [""]
    for token in token_ids(reply.pieces):
        texts.append(texts[-1] + stream.push(token))
    return tuple(texts)

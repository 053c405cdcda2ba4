"""What a recommendation tries: the learned tag, and triggers that need no training.

Thresholds come from what the small model alone gave its tokens, so that no text is written to find
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from splitreason_integrations.decide.closing import Agrees, CloseRule, StepEnd, TagClose
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import (
    Confidence,
    Entropy,
    Position,
    StepEntropy,
    Tag,
    Trigger,
)
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.loop.choice import (
    DISAGREEMENT,
    MOST_SPAN_TOKENS,
    Situation,
    close_obstacle,
    trigger_obstacle,
)

POLICY = Policy(max_span_tokens=MOST_SPAN_TOKENS)
"""Caps of all that is tried: every span ends."""


@dataclass(frozen=True, slots=True)
class Family:
    """Triggers that compare one score of a position with a threshold.

    Attributes:
        name: Name of the triggers.
        make: Returns the trigger with a threshold.
        score: Returns the score of a position.
        loosest: Threshold at which the trigger fires wherever it can.
        above: Whether it fires where the score is above the threshold, not below.

    """

    name: str
    make: Callable[[float], Trigger]
    score: Callable[[Position], float]
    loosest: float
    above: bool

    def at_rate(self, positions: Sequence[Position], rate: float) -> Trigger:
        """Return the trigger that fires at about this fraction of the positions, once at least."""
        widest = self.make(self.loosest)
        scores = sorted(
            (self.score(at) for at in positions if widest.fires(at)), reverse=self.above
        )
        wanted = max(1, round(rate * len(positions)))
        if wanted >= len(scores):
            return widest
        return self.make(float(f"{scores[wanted]:.4g}"))


MATCHED = (
    Family("entropy", Entropy, lambda at: at.entropy, loosest=0.0, above=True),
    Family("confidence", Confidence, lambda at: at.confidence, loosest=1.0, above=False),
    Family("step-entropy", StepEntropy, lambda at: at.entropy, loosest=0.0, above=True),
)
"""Triggers whose threshold is set so that they offload as much as `disagreement` or `tag` does."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What can be tried with two models.

    Attributes:
        engine: The pair, without rules.
        fixed: Engines with a trigger that has no threshold to look for.
        matched: Families whose threshold has to be found.
        close: The close rule of the matched families.
        left_out: What cannot be tried, and why.

    """

    engine: SplitEngine
    fixed: tuple[SplitEngine, ...]
    matched: tuple[Family, ...]
    close: CloseRule
    left_out: tuple[tuple[str, str], ...]

    def with_trigger(self, trigger: Trigger) -> SplitEngine:
        """Return the pair with a trigger that needs no training, and its close rule."""
        return replace(self.engine, trigger=trigger, close=self.close)


def candidates(engine: SplitEngine, here: Situation) -> Candidates:
    """Return what can be tried with an engine's pair."""
    fixed, left_out = list[SplitEngine](), list[tuple[str, str]]()
    agrees = Agrees() | StepEnd()
    obstacle = close_obstacle(agrees, here)
    close = StepEnd() if obstacle else agrees
    if obstacle:
        left_out.append((str(agrees), obstacle))
    if here.opens:
        by_tag = TagClose() if here.teaching is None or here.teaching.closes else close
        fixed.append(replace(engine, trigger=Tag(), close=by_tag))
    else:
        why = here.teaching.why if here.teaching else "it was not asked"
        left_out.append(("tag", f"{here.small.name} was never taught to mark spans: {why}"))
    obstacle = trigger_obstacle(DISAGREEMENT, here)
    if obstacle:
        left_out.append((str(DISAGREEMENT), obstacle))
    else:
        fixed.append(replace(engine, trigger=DISAGREEMENT, close=close))
    matched = list[Family]()
    for family in MATCHED:
        obstacle = trigger_obstacle(family.make(family.loosest), here)
        if obstacle:
            left_out.append((family.name, obstacle))
        else:
            matched.append(family)
    return Candidates(engine, tuple(fixed), tuple(matched), close, tuple(left_out))

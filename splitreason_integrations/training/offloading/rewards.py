"""Reward of a rollout: correctness and good form, minus the cost of its offloads.

Rewards are pure functions of the facts of a rollout. A reply in bad form earns less than any in
good form: correctness does not count, and it pays the highest price.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from splitreason_integrations.checks import check_number, check_positive
from splitreason_integrations.errors import SettingError
from splitreason_integrations.records import Completion
from splitreason_integrations.text.tags import CLOSE, OPEN

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LONG_ENOUGH, _LEAST_RATIO = 200, 0.12
"""From this many bytes, a compression ratio below the second value means repetition.

Ordinary text compresses to 0.3 to 0.7 of its size.
"""


@dataclass(frozen=True)
class Facts:
    """Facts of a rollout that a reward may use.

    Attributes:
        reasoning: Text before the answer, without tags.
        answer: Text of the answer.
        finished: Whether the reply ended by itself, not at a cap.
        right: Whether the answer is right.
        span_tokens: Large-model tokens of each span.
        small_tokens: Tokens of the small model.
        wait_s: Measured seconds of the offloads, round trips included.
        usd: Cost of the offloads in USD.
        surprise: Mean nats per token of the small model's text under the model that training
            started from. That model's own text has about its entropy, noise much more.
        given: Text of the conversation before the reply.

    """

    reasoning: str
    answer: str
    finished: bool
    right: bool
    span_tokens: tuple[int, ...] = ()
    small_tokens: int = 0
    wait_s: float = 0.0
    usd: float = 0.0
    surprise: float = 0.0
    given: str = ""

    @property
    def large_tokens(self) -> int:
        """All tokens of the large model."""
        return sum(self.span_tokens)

    @property
    def share(self) -> float:
        """Large-model tokens ÷ all tokens; 0 for an empty reply."""
        return self.large_tokens / max(1, self.large_tokens + self.small_tokens)


@dataclass(frozen=True)
class Costs:
    """Costs of offloads in the reward.

    Each of the three costs is at most its weight: latency reaches it at `full_s` seconds, money at
    `full_usd`, and share at a distance of 1 from its target.

    Attributes:
        latency: Weight of the measured wait.
        full_s: Seconds of waiting that cost the whole weight.
        round_trip_s: Seconds added to each span, for a large model that will be further away than
            the one in training.
        money: Weight of the price of the large model's tokens.
        full_usd: USD per reply that cost the whole weight.
        share: Weight of the distance to `target_share`.
        target_share: Desired offload share.

    """

    latency: float = 0.0
    full_s: float = 10.0
    round_trip_s: float = 0.0
    money: float = 0.0
    full_usd: float = 0.001
    share: float = 0.0
    target_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("latency", "money", "share", "target_share"):
            check_number(name, getattr(self, name), most=1)
        check_number("round_trip_s", self.round_trip_s)
        for name in ("full_s", "full_usd"):
            check_positive(name, getattr(self, name))
        if self.most > 1:
            raise SettingError(
                f"the weights of latency, money and share add up to {self.most:g}, which is more "
                "than the 1 that a right answer earns: lower one of them",
                ("share",),
            )

    @property
    def most(self) -> float:
        """Largest possible cost."""
        return self.latency + self.money + self.share

    def parts(self, facts: Facts) -> dict[str, float]:
        """Return each cost of a reply, 0 or less."""
        return {
            "latency": -self.latency * min(1.0, facts.wait_s / self.full_s),
            "money": -self.money * min(1.0, facts.usd / self.full_usd),
            "share": -self.share * abs(facts.share - self.target_share),
        }


@dataclass(frozen=True)
class Form:
    """Limits of good form.

    Attributes:
        spans_in_100: Most spans per 100 tokens.
        surprise: Largest surprise, in nats per token.

    """

    spans_in_100: float = 12.0
    surprise: float = 2.5

    def __post_init__(self) -> None:
        for name in ("spans_in_100", "surprise"):
            check_positive(name, getattr(self, name))

    def fault(self, facts: Facts) -> str | None:
        """Return what is wrong with a reply's form, or None."""
        tokens = facts.small_tokens + facts.large_tokens
        numbers, known = _NUMBER.findall(facts.answer), facts.given + facts.reasoning
        faults = {
            "not finished": not facts.finished,
            "no answer": not facts.answer.strip(),
            "no reasoning": not facts.reasoning.strip(),
            "a tag in the text": any(t in facts.reasoning + facts.answer for t in (OPEN, CLOSE)),
            "an empty span": 0 in facts.span_tokens,
            "too many spans": len(facts.span_tokens) * 100 > self.spans_in_100 * tokens,
            "an answer from nowhere": bool(numbers) and numbers[-1] not in known,
            "one thing over and over": _repeats(facts.reasoning + facts.answer),
            "noise": facts.surprise > self.surprise,
        }
        return next((name for name, found in faults.items() if found), None)


@dataclass(frozen=True)
class Rewards:
    """Reward of a recipe: 1 for a right answer in good form, `malformed` for bad form, minus costs.

    Attributes:
        costs: Costs of offloads.
        form: Limits of good form.
        malformed: Reward of bad form.

    """

    costs: Costs = field(default_factory=Costs)
    form: Form = field(default_factory=Form)
    malformed: float = -0.5

    def __post_init__(self) -> None:
        check_number("malformed", self.malformed, least=-10, most=-0.01)

    def parts(self, facts: Facts, *, price: float = 1.0) -> dict[str, float]:
        """Return the parts of a reply's reward; `price` from 0 to 1 scales the costs."""
        if self.form.fault(facts) is not None:
            return {"correct": 0.0, "form": self.malformed, "costs": -price * self.costs.most}
        costs = {name: price * value for name, value in self.costs.parts(facts).items()}
        return {"correct": float(facts.right), "form": 0.0, **costs}

    def total(self, facts: Facts, *, price: float = 1.0) -> float:
        """Return a reply's reward."""
        return sum(self.parts(facts, price=price).values())


PARTS = ("correct", "form", "costs", "latency", "money", "share")
"""All names that `Rewards.parts` may return."""


def facts_of(
    reply: Completion,
    *,
    right: bool,
    surprise: float = 0.0,
    given: str = "",
    round_trip_s: float = 0.0,
) -> Facts:
    """Return the facts of a reply of the engine."""
    return Facts(
        reasoning=reply.reasoning,
        answer=reply.answer,
        finished=reply.stop_reason == "stop",
        right=right,
        span_tokens=tuple(span.tokens for span in reply.spans),
        small_tokens=reply.small_tokens,
        wait_s=sum(span.latency_s + round_trip_s for span in reply.spans),
        usd=sum(span.cost_usd for span in reply.spans),
        surprise=surprise,
        given=given,
    )


@dataclass(frozen=True)
class Curriculum:
    """How the price of costs changes over a run: linearly between two steps.

    Attributes:
        start: Price up to `from_step`, 0 to 1.
        end: Price from `to_step` on, 0 to 1.
        from_step: First step of the change.
        to_step: Last step of the change.

    """

    start: float = 1.0
    end: float = 1.0
    from_step: int = 0
    to_step: int = 0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            check_number(name, getattr(self, name), most=1)
        for name in ("from_step", "to_step"):
            check_number(name, getattr(self, name), whole=True)
        if self.to_step < self.from_step:
            raise SettingError("to_step lies before from_step: swap them", ("to_step",))

    def price(self, step: int) -> float:
        """Return the price at a step of the run."""
        if step >= self.to_step:
            return self.end
        done = max(0, step - self.from_step) / (self.to_step - self.from_step)
        return self.start + (self.end - self.start) * done


def _repeats(text: str) -> bool:
    data = text.encode("utf-8", "replace")
    long_enough = len(data) >= _LONG_ENOUGH
    return long_enough and len(zlib.compress(data, 9)) < _LEAST_RATIO * len(data)


def logged(parts: Mapping[str, float]) -> dict[str, float]:
    """Return every part by name; missing parts are 0."""
    return {name: parts.get(name, 0.0) for name in PARTS}

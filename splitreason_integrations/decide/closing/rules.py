"""The close rules: the learned tag, and those that need no training."""

from dataclasses import dataclass

from splitreason_integrations.checks import check_number
from splitreason_integrations.decide.closing.base import (
    CloseNeeds,
    CloseRule,
    OwnToken,
    SpanPlace,
)
from splitreason_integrations.decide.joined_text import number_text
from splitreason_integrations.decide.steps import step_ends


@dataclass(frozen=True)
class AutoClose(CloseRule):
    """Stands for the rule that each request chooses for its two models, where none is named."""

    is_auto = True

    def __str__(self) -> str:
        return "auto"


@dataclass(frozen=True)
class TagClose(CloseRule):
    """The small model's close tag (arXiv 2504.16379): it learned where a span ends.

    Attributes:
        above: The span ends where P(close tag) exceeds this number in [0, 1]. At 1 nothing is
            read along, and the large model's own close tag ends the span.

    Raises:
        SettingError: Where `above` is not in [0, 1].

    """

    above: float = 0.5
    uses_tag = True

    def __post_init__(self) -> None:
        check_number("TagClose above", self.above, most=1)

    @property
    def needs(self) -> CloseNeeds:  # type: ignore[override]
        """P(close tag), unless nothing exceeds `above`."""
        return CloseNeeds.CLOSE_PROBABILITY if self.above < 1 else CloseNeeds.NOTHING

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the close tag is probable enough."""
        return at.close_probability > self.above

    def __str__(self) -> str:
        return f"tag>{number_text(self.above)}"


@dataclass(frozen=True)
class Agrees(CloseRule):
    """The small model, reading along, would have written the span's last tokens itself.

    The acceptance rule of speculative decoding, applied to a span's last tokens; speculative
    cascades (arXiv 2405.19261) compare the two models in the same way.

    Attributes:
        tokens: How many of the span's last tokens, in the small model's vocabulary, it must agree
            with.
        probability: It agrees with a token that it gives at least this probability, in [0, 1];
            None: with a token that is its likeliest.

    Raises:
        SettingError: Where a value is out of range.

    """

    tokens: int = 1
    probability: float | None = None
    needs = CloseNeeds.OWN

    def __post_init__(self) -> None:
        check_number("Agrees tokens", self.tokens, least=1, whole=True)
        if self.probability is not None:
            check_number("Agrees probability", self.probability, most=1)

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the small model agrees with the span's last tokens."""
        last = at.own[-self.tokens :]
        return len(last) == self.tokens and all(map(self._agrees, last))

    def _agrees(self, token: OwnToken) -> bool:
        if self.probability is None:
            return token.likeliest
        return token.probability >= self.probability

    def __str__(self) -> str:
        count = "" if self.tokens == 1 else f":{self.tokens}"
        least = "" if self.probability is None else f">{number_text(self.probability)}"
        return f"agrees{count}{least}"


@dataclass(frozen=True)
class LowEntropy(CloseRule):
    """The small model is sure of what comes next.

    Attributes:
        below: The span ends where the entropy of the next token is below this, in nats.

    Raises:
        SettingError: Where `below` is negative.

    """

    below: float = 0.5
    needs = CloseNeeds.ENTROPY

    def __post_init__(self) -> None:
        check_number("LowEntropy below", self.below)

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the next token's entropy is low."""
        return at.entropy < self.below

    def __str__(self) -> str:
        return f"entropy<{number_text(self.below)}"


@dataclass(frozen=True)
class StepEnd(CloseRule):
    """The large model has finished a step: a line or a sentence.

    SpecReason (arXiv 2504.07891) hands over whole reasoning steps. A step that ends within a
    token, or in a part of the span that can only be kept whole, ends the span behind it.
    """

    needs = CloseNeeds.TEXT

    def closes(self, at: SpanPlace) -> bool:
        """Return whether a step ends in the text since the place before."""
        since = max(0, len(at.text) - len(at.new_text))
        return next(step_ends(at.text, since=since), None) is not None

    def __str__(self) -> str:
        return "step"

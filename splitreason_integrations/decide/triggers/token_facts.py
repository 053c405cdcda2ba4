"""Triggers that look at the next token: the small model's choice, and what both models give it."""

import math
from dataclasses import dataclass
from numbers import Real

from splitreason_integrations.decide.joined_text import number_text
from splitreason_integrations.decide.triggers.base import Needs, Position, Trigger
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.sampling import uniform

_RANDOM_STREAM = 0x7261


def check_share(name: str, value: float) -> None:
    """Raise ConfigurationError unless `value` is a probability."""
    if not isinstance(value, Real) or not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"{name} is a probability and must lie in [0, 1], got {value!r}")


def check_above(name: str, value: float) -> None:
    """Raise ConfigurationError unless `value` is a number."""
    if not isinstance(value, Real) or math.isnan(value):
        raise ConfigurationError(f"{name} must be a number of nats such as 1.5, got {value!r}")


@dataclass(frozen=True)
class Tag(Trigger):
    """The small model's own open tag (arXiv 2504.16379): learned offload.

    Attributes:
        threshold: None opens a span where the small model chooses the tag; a number in [0, 1]
            opens one where P(open tag) exceeds it. Of a tag of several tokens, the first counts.

    Raises:
        ConfigurationError: Where the threshold is not in [0, 1].

    """

    threshold: float | None = None
    uses_tag = True

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_share("Tag threshold", self.threshold)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """P(open tag), if there is a threshold."""
        return Needs.NOTHING if self.threshold is None else Needs.OPEN_PROBABILITY

    @property
    def stops_at_tag(self) -> bool:  # type: ignore[override]
        """Whether the chosen tag alone opens a span: the model can stop there by itself."""
        return self.threshold is None

    def fires(self, at: Position) -> bool:
        """Return whether the tag was chosen, or is probable enough."""
        if self.threshold is None:
            return at.tag_chosen
        return at.open_probability > self.threshold

    def __str__(self) -> str:
        return "tag" if self.threshold is None else f"tag>{number_text(self.threshold)}"


@dataclass(frozen=True)
class Entropy(Trigger):
    """A baseline: opens where the small model is unsure of its next token.

    vLLM, in this process or behind a server, and llama.cpp give the 20 likeliest tokens. With r the
    probability of all others, which count as one token, and V tokens in the vocabulary, this
    entropy is never above the true one, and below it by r * ln(V - 20) nats at most.

    Attributes:
        above: Entropy of the next token in nats, above which a span opens.

    """

    above: float
    needs = Needs.ENTROPY

    def __post_init__(self) -> None:
        check_above("Entropy above", self.above)

    def fires(self, at: Position) -> bool:
        """Return whether the next token's entropy is high."""
        return at.entropy > self.above

    def __str__(self) -> str:
        return f"entropy>{number_text(self.above)}"


@dataclass(frozen=True)
class Confidence(Trigger):
    """Opens where the small model is not sure of the token that it chose.

    Attributes:
        below: P(the chosen token), in [0, 1], below which a span opens.

    Raises:
        ConfigurationError: Where `below` is not in [0, 1].

    """

    below: float
    needs = Needs.CONFIDENCE

    def __post_init__(self) -> None:
        check_share("Confidence below", self.below)

    def fires(self, at: Position) -> bool:
        """Return whether the chosen token has a low probability."""
        return at.confidence < self.below

    def __str__(self) -> str:
        return f"confidence<{number_text(self.below)}"


@dataclass(frozen=True)
class Disagreement(Trigger):
    """Opens where the large model, reading along, would not have written the token.

    Neither model has to be trained. This is the deferral rule of speculative cascades
    (arXiv 2405.19261) with a fixed threshold. The large model reads in chunks: what the small one
    wrote behind the opening is dropped. Reading costs input tokens of the large model: one pass or
    request a chunk, and no token is decoded. A stream shows text once it was read, so a chunk
    later: 8 tokens (`handback_tokens`) to 64, the more the longer a pass of the large model takes
    next to a step of the small one. `splitreason bench disagreement` measures that delay.

    Attributes:
        below: A span opens where the large model gives the chosen token less than this, in
            [0, 1], and has another token as its likeliest.

    Raises:
        ConfigurationError: Where `below` is not in [0, 1].

    """

    below: float = 0.1
    needs = Needs.LARGE

    def __post_init__(self) -> None:
        check_share("Disagreement below", self.below)

    def fires(self, at: Position) -> bool:
        """Return whether the large model finds the token improbable."""
        return at.large_probability < self.below and not at.large_likeliest

    def __str__(self) -> str:
        return f"disagreement<{number_text(self.below)}"


@dataclass(frozen=True)
class Random(Trigger):
    """A baseline: opens at random, decided by the request's seed and the position.

    Attributes:
        probability: The chance of a span at each position, in [0, 1].

    """

    probability: float

    def __post_init__(self) -> None:
        check_share("Random probability", self.probability)

    def fires(self, at: Position) -> bool:
        """Return whether the draw for this position is below the probability."""
        return uniform(at.seed, _RANDOM_STREAM, at.index) < self.probability

    def __str__(self) -> str:
        return f"random:{number_text(self.probability)}"

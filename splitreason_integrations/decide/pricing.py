"""What a model's tokens cost and how long they take: values to bill and to plan with."""

from dataclasses import dataclass

from splitreason_integrations.checks import check_number, check_positive


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model's tokens cost, in USD per million tokens."""

    input_usd: float = 0.0
    output_usd: float = 0.0

    def __post_init__(self) -> None:
        check_number("input_usd", self.input_usd)
        check_number("output_usd", self.output_usd)

    def cost_usd(self, *, input_tokens: float, output_tokens: float) -> float:
        """Return the cost of that many tokens."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1_000_000


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """How long a large model behind a network takes to answer.

    Each handoff waits `round_trip_s` seconds for its first token; then come `tokens_per_s`.
    """

    round_trip_s: float
    tokens_per_s: float

    def __post_init__(self) -> None:
        check_number("round_trip_s", self.round_trip_s)
        check_positive("tokens_per_s", self.tokens_per_s)

    def seconds(self, tokens: int, handoffs: int) -> float:
        """Return how long `handoffs` spans of `tokens` tokens in all take, in seconds."""
        return handoffs * self.round_trip_s + tokens / self.tokens_per_s


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """What is known of a large model that does not say it itself."""

    prices: Prices | None = None
    latency: LatencyModel | None = None

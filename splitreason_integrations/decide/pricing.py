"""Prices and latency of a model, for accounting and planning."""

from dataclasses import dataclass

from splitreason_integrations.checks import check_number, check_positive


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a model's tokens.

    Attributes:
        input_usd: USD per million tokens read, 0 or more.
        output_usd: USD per million tokens written, 0 or more.

    """

    input_usd: float = 0.0
    output_usd: float = 0.0

    def __post_init__(self) -> None:
        check_number("input_usd", self.input_usd)
        check_number("output_usd", self.output_usd)

    def cost_usd(self, *, input_tokens: float, output_tokens: float) -> float:
        """Return the cost in USD of so many tokens read and written."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1_000_000


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """How long a large model behind a network takes.

    Attributes:
        round_trip_s: Seconds from a handoff to its first token, 0 or more.
        tokens_per_s: Tokens per second from then on, above 0.

    """

    round_trip_s: float
    tokens_per_s: float

    def __post_init__(self) -> None:
        check_number("round_trip_s", self.round_trip_s)
        check_positive("tokens_per_s", self.tokens_per_s)

    def seconds(self, tokens: int, handoffs: int) -> float:
        """Return the seconds that `handoffs` spans with `tokens` tokens in all take."""
        return handoffs * self.round_trip_s + tokens / self.tokens_per_s


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """Price and latency of a large model, as a policy states them.

    Attributes:
        prices: Its prices; None keeps those that the model was set up with.
        latency: Its latency, for planning; None if unknown.

    """

    prices: Prices | None = None
    latency: LatencyModel | None = None

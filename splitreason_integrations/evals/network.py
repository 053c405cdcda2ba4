"""A large model somewhere else: what its distance and its speed add to a request."""

import math
from dataclasses import dataclass

from splitreason_integrations.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where the large model is planned to be.

    A handoff takes `round_trip_s`; the large model writes `tokens_per_s`, or as fast as was
    measured where that is None.
    """

    round_trip_s: float = 0.0
    tokens_per_s: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.round_trip_s) and self.round_trip_s >= 0):
            raise ConfigurationError(f"round_trip_s must be 0 or more, got {self.round_trip_s}")
        if self.tokens_per_s is not None and not self.tokens_per_s > 0:
            raise ConfigurationError(f"tokens_per_s must be above 0, got {self.tokens_per_s}")

    def __str__(self) -> str:
        rate = "as fast as measured"
        if self.tokens_per_s is not None:
            rate = f"{self.tokens_per_s:g} tokens/s"
        return f"round trip {1000 * self.round_trip_s:g} ms, large model {rate}"

    def large_s(self, *, handoffs: int, tokens: int, measured_s: float) -> float:
        """Return the seconds that the large model's part of a request takes.

        That is handoffs × round trip + tokens ÷ rate; `measured_s` stands for the last term where
        no rate is known.
        """
        writing = measured_s if self.tokens_per_s is None else tokens / self.tokens_per_s
        return handoffs * self.round_trip_s + writing

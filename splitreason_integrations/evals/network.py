"""Model of a remote large model: the latency that its distance and speed add to a request."""

import math
from dataclasses import dataclass

from splitreason_integrations.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where the large model is assumed to run.

    Attributes:
        round_trip_s: Seconds added per handoff.
        tokens_per_s: Writing speed of the large model; None for the measured speed.

    Raises:
        ConfigurationError: A value is out of range.

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

    def large_s(self, *, handoffs: float, tokens: float, measured_s: float) -> float:
        """Return the seconds of the large model's part of a request.

        That is handoffs × round trip + tokens ÷ speed. Without a speed, `measured_s` replaces the
        last term.
        """
        writing = measured_s if self.tokens_per_s is None else tokens / self.tokens_per_s
        return handoffs * self.round_trip_s + writing

"""What shadow mode assumes about spans, and what it estimates."""

from dataclasses import dataclass, field, replace

from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import ModelTerms, Prices
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.metrics import Figures, Metric
from splitreason_integrations.evals.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Assumptions about spans, and how far they are checked.

    Attributes:
        span_tokens: Tokens of every span; None: as many as it replaces.
        pilot: On how many of the prompts both models run for each trigger, to correct its forecast.
        prices: Prices of the large model, where it has none of its own.
        network: Where the large model runs; without a speed, a handoff adds its round trip only.
        reads_along: Whether the large model may be loaded to read what the small one writes.

    Raises:
        ConfigurationError: A number is out of range.

    """

    span_tokens: float | None = None
    pilot: int = 0
    prices: Prices = field(default_factory=Prices)
    network: Network = field(default_factory=Network)
    reads_along: bool = True

    def __post_init__(self) -> None:
        if self.span_tokens is not None and not self.span_tokens > 0:
            raise ConfigurationError(f"span_tokens must be above 0, got {self.span_tokens}")
        if self.pilot < 0:
            raise ConfigurationError(f"pilot must be 0 or more, got {self.pilot}")

    def with_prices(self, policy: Policy) -> Policy:
        """Return the policy with the plan's prices, for a large model that has none."""
        if self.prices == Prices():
            return policy
        return replace(policy, models={"*": ModelTerms(prices=self.prices), **policy.models})


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one trigger.

    Attributes:
        trigger: The trigger.
        close: The close rule.
        figures: Handoffs, share, cost and latency, with intervals.
        large_tokens: Mean large-model tokens per request.
        added_s: Mean seconds that handoffs add per request.
        pilot: Number of prompts on which both models ran.

    """

    trigger: Trigger
    close: CloseRule
    figures: Figures
    large_tokens: float
    added_s: float
    pilot: int = 0

    def data(self) -> dict[str, object]:
        """Return the estimate as plain data; `interval` is the interval of the share."""
        handoffs, share = self.figures[Metric.HANDOFFS], self.figures[Metric.SHARE]
        return {
            "trigger": str(self.trigger),
            "close": str(self.close),
            "handoffs": handoffs.value,
            "handoffs_interval": handoffs.interval,
            "large_tokens": self.large_tokens,
            "offload_share": share.value,
            "interval": share.interval,
            "usd_per_1k": self.figures[Metric.USD].value,
            "usd_per_1k_interval": self.figures[Metric.USD].interval,
            "added_latency_s": self.added_s,
            "latency_s": {
                "p50": self.figures[Metric.LATENCY_P50].value,
                "p95": self.figures[Metric.LATENCY_P95].value,
            },
            "pilot": self.pilot,
        }


@dataclass(frozen=True)
class ShadowReport:
    """Estimates for several triggers from one run.

    Attributes:
        estimates: One per trigger.
        n: Number of requests.
        small_tokens: Mean tokens per request of the small model.
        small_s: Mean seconds per request of the small model; where the large one read along, with
            the time of its reading.
        span_tokens: Assumed tokens of a span; None where a span is as long as what it replaces.
        pilot: On how many of the prompts both models ran for each trigger.
        seed: Seed of the requests and of the bootstrap.
        untaught: What to do about a small model that was never taught to mark spans; None for one
            that was.

    """

    estimates: tuple[Estimate, ...]
    n: int
    small_tokens: float
    small_s: float
    span_tokens: float | None
    pilot: int
    seed: int
    untaught: str | None = None

    def data(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {
            "n": self.n,
            "small_tokens": self.small_tokens,
            "small_s": self.small_s,
            "span_tokens": self.span_tokens,
            "pilot": self.pilot,
            "seed": self.seed,
            "untaught": self.untaught,
            "estimates": [estimate.data() for estimate in self.estimates],
        }

"""The bound that calibration has to meet."""

import math
from dataclasses import dataclass

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.metrics import Figure, Metric

_ASKED = {
    Metric.SHARE: "an offload share of at most {}",
    Metric.USD: "at most {} USD per 1,000 requests",
    Metric.ACCURACY: "an accuracy of at least {}",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a threshold: a cap on share or USD, or a minimum accuracy.

    A cap is met if the upper end of the figure's 95 % interval is within it; a minimum accuracy if
    the lower end is. With `by_point` the figure itself is compared.

    Attributes:
        metric: Which figure is bounded.
        bound: The bound: a fraction for share and accuracy, USD per 1,000 requests for cost.
        by_point: Compare the point estimate instead of the end of its interval.

    Raises:
        ConfigurationError: The metric cannot be bounded, or the bound is out of range.

    """

    metric: Metric
    bound: float
    by_point: bool = False

    def __post_init__(self) -> None:
        if self.metric not in _ASKED:
            raise ConfigurationError(f"{self.metric} cannot be a goal: use {', '.join(_ASKED)}")
        if not (self.bound > 0 and math.isfinite(self.bound)):
            raise ConfigurationError(
                f"the bound on {self.metric} must be above 0, got {self.bound}"
            )
        if self.metric is not Metric.USD and self.bound > 1:
            raise ConfigurationError(
                f"the bound on {self.metric} is a share and must lie in (0, 1], got {self.bound}"
            )

    @property
    def is_cap(self) -> bool:
        """Whether the bound is an upper one, so that as much as allowed is offloaded."""
        return self.metric is not Metric.ACCURACY

    def kept_by(self, figure: Figure) -> bool:
        """Return whether a figure meets the bound."""
        if self.is_cap:
            return (figure.value if self.by_point else figure.high) <= self.bound
        return (figure.value if self.by_point else figure.low) >= self.bound

    def __str__(self) -> str:
        return _ASKED[self.metric].format(self.formatted(self.bound))

    def formatted(self, value: float) -> str:
        """Return a value of the metric formatted for people."""
        return f"{value:.4g}" if self.metric is Metric.USD else f"{100 * value:.3g}%"

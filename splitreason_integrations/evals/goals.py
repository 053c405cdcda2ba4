"""What a threshold is asked to keep to."""

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
    """What a threshold has to keep to: a cap on share or USD, or a least accuracy.

    A cap holds where the upper end of the figure's 95 % interval is within it, a least accuracy
    where the lower end is; with `by_point` the figure itself counts.
    """

    metric: Metric
    bound: float
    by_point: bool = False

    def __post_init__(self) -> None:
        if self.metric not in _ASKED:
            raise ConfigurationError(f"{self.metric} cannot be asked for: use {', '.join(_ASKED)}")
        if not (self.bound > 0 and math.isfinite(self.bound)):
            raise ConfigurationError(f"{self.metric} to keep to must be above 0, got {self.bound}")
        if self.metric is not Metric.USD and self.bound > 1:
            raise ConfigurationError(
                f"{self.metric} to keep to is a share and must lie in (0, 1], got {self.bound}"
            )

    @property
    def is_cap(self) -> bool:
        """Whether to offload as much as the bound allows, rather than as little."""
        return self.metric is not Metric.ACCURACY

    def kept_by(self, figure: Figure) -> bool:
        """Return whether a figure keeps to the bound."""
        if self.is_cap:
            return (figure.value if self.by_point else figure.high) <= self.bound
        return (figure.value if self.by_point else figure.low) >= self.bound

    def __str__(self) -> str:
        return _ASKED[self.metric].format(self.written(self.bound))

    def written(self, value: float) -> str:
        """Return a value of the metric as people read it."""
        return f"{value:.4g}" if self.metric is Metric.USD else f"{100 * value:.3g}%"

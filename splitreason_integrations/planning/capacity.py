"""Replicas for a load, their utilisation, the latency of an answer, and cost.

The model in full. A replica finishes 1 ÷ `busy_s` answers per second, where `busy_s` is work ÷
measured speed. Each station gets the fewest replicas whose utilisation at the load is at most the
target. The latency of an answer is its unloaded time at each station ÷ (1 − q), where q is the
fraction of time in which other answers slow it down: the mean under processor sharing for
independent arrivals without bursts. With a fixed number n of concurrent answers, an answer meets
only the others, so q is multiplied by (n − 1) ÷ n.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from splitreason_integrations.checks import check_number, check_positive
from splitreason_integrations.errors import RequestError, SettingError
from splitreason_integrations.planning.figures import Figures
from splitreason_integrations.planning.stations import Station, Way, large_alone, split

_HALVINGS = 60
_ROUNDING = 1e-9
_LEAST_S = 1e-9
MOST_GPUS = 1_000_000
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to plan for: a load or a number of GPUs; by default one replica of each model.

    Attributes:
        load_per_s: Answers per second.
        gpus: Number of GPUs.
        utilisation: Highest utilisation of a replica, below 1.

    Raises:
        SettingError: A value is out of range, or both load and GPUs are given.

    """

    load_per_s: float | None = None
    gpus: int | None = None
    utilisation: float = 0.7

    def __post_init__(self) -> None:
        if self.load_per_s is not None and self.gpus is not None:
            raise SettingError("give either a load or GPUs: the plan computes the other")
        if self.load_per_s is not None:
            check_positive("load_per_s", self.load_per_s)
        if self.gpus is not None:
            check_number("gpus", self.gpus, least=1, most=MOST_GPUS, whole=True)
        check_positive("utilisation", self.utilisation)
        if not self.utilisation < 1:
            raise SettingError(
                f"utilisation must be below 1, such as 0.7, got {self.utilisation}: waiting times "
                "grow without bound towards 1"
            )


@dataclass(frozen=True, slots=True)
class Deployment:
    """Replicas of each station under a load.

    Attributes:
        way: The work of an answer.
        replicas: Number of replicas of each station.
        load_per_s: Answers per second.

    """

    way: Way
    replicas: tuple[int, ...]
    load_per_s: float

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return sum(one.gpus * replicas for one, replicas in self._each())

    @property
    def utilisations(self) -> tuple[float, ...]:
        """Utilisation of each station's replicas."""
        return tuple(self.load_per_s * one.busy_s / replicas for one, replicas in self._each())

    @property
    def bottleneck(self) -> Station:
        """The station with the highest utilisation."""
        busiest = max(range(len(self.replicas)), key=lambda at: self.utilisations[at])
        return self.way.stations[busiest]

    @property
    def latency_s(self) -> float:
        """Mean seconds per answer under the load."""
        rates = [self.load_per_s / replicas for replicas in self.replicas]
        return latency_s(self.way, rates)

    @property
    def gpu_usd_per_1k(self) -> float | None:
        """USD per 1,000 answers for replicas, idle time included; None where no price is known."""
        if not any(one.usd_per_gpu_hour for one in self.way.stations):
            return None
        hourly = sum(one.gpus * one.usd_per_gpu_hour * count for one, count in self._each())
        return 1000 * hourly / SECONDS_PER_HOUR / self.load_per_s

    @property
    def tokens_usd_per_1k(self) -> float | None:
        """USD per 1,000 answers for tokens; None where no price is known."""
        return None if self.way.tokens_usd is None else 1000 * self.way.tokens_usd

    @property
    def usd_per_1k(self) -> float | None:
        """USD per 1,000 answers for tokens and replicas; None where no price is known."""
        known = [one for one in (self.gpu_usd_per_1k, self.tokens_usd_per_1k) if one is not None]
        return sum(known) if known else None

    def data(self) -> dict[str, object]:
        """Return the deployment as plain data."""
        return {
            "load_per_s": self.load_per_s,
            "latency_s": self.latency_s,
            "idle_latency_s": self.way.idle_s,
            "gpus": self.gpus,
            "bottleneck": self.bottleneck.name,
            "usd_per_1k": {
                "tokens": self.tokens_usd_per_1k,
                "gpus": self.gpu_usd_per_1k,
                "total": self.usd_per_1k,
            },
            "stations": [
                {
                    "model": one.name,
                    "replicas": replicas,
                    "gpus": replicas * one.gpus,
                    "utilisation": busy,
                    "busy_s_per_answer": one.busy_s,
                    "answers_per_s_per_replica": 1 / one.busy_s,
                }
                for (one, replicas), busy in zip(self._each(), self.utilisations, strict=True)
            ],
        }

    def _each(self) -> Iterator[tuple[Station, int]]:
        return zip(self.way.stations, self.replicas, strict=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """Deployments for one target: the split, and the large model alone.

    Attributes:
        figures: The measured figures.
        target: What was planned for.
        split: Deployment of the pair.
        large_alone: Deployment of the large model alone.

    """

    figures: Figures
    target: Target
    split: Deployment
    large_alone: Deployment

    def data(self) -> dict[str, object]:
        """Return the plan as plain data."""
        return {
            "utilisation": self.target.utilisation,
            "shared": self.figures.shared,
            "offload_share": self.figures.answer.offload_share,
            "split": self.split.data(),
            "large_alone": self.large_alone.data(),
        }


def plan(figures: Figures, target: Target) -> Plan:
    """Return the replicas that the target needs, or the load that its GPUs can serve.

    Raises:
        RequestError: The target cannot be met, or the figures are implausible.

    """
    ways = split(figures), large_alone(figures)
    for way in ways:
        _check_range(way)
    deployments = [_deployed(way, target) for way in ways]
    return Plan(figures, target, *deployments)


def replicas_for(way: Way, load_per_s: float, utilisation: float) -> Deployment:
    """Return the fewest replicas whose utilisation at a load is at most `utilisation`.

    Raises:
        RequestError: The load needs more than `MOST_GPUS` replicas.

    """
    needed = [load_per_s * one.busy_s / utilisation for one in way.stations]
    if max(needed) > MOST_GPUS:
        raise RequestError(
            f"{load_per_s:g} answers per second need more than {MOST_GPUS:,} replicas: check the "
            "load, and the units of the figures"
        )
    return Deployment(way, tuple(max(1, math.ceil(one - _ROUNDING)) for one in needed), load_per_s)


def most_with(way: Way, gpus: int, utilisation: float) -> Deployment:
    """Return the replicas with the highest capacity on this many GPUs, and the load they can serve.

    Raises:
        RequestError: The GPUs do not hold one replica of each model.

    """
    least = sum(one.gpus for one in way.stations)
    if gpus < least:
        names = " and ".join(one.name for one in way.stations)
        raise RequestError(
            f"{gpus} GPUs do not hold a replica of {names}, which need {least}: give more, or "
            "let both models share a device"
        )
    best = max(_splits(way.stations, gpus), key=lambda replicas: _capacity(way, replicas))
    return Deployment(way, best, utilisation * _capacity(way, best))


def latency_s(way: Way, rates: Sequence[float], *, met: float = 1.0) -> float:
    """Return the mean seconds of an answer.

    Args:
        way: The work of an answer.
        rates: Answers per second and replica, for each station.
        met: Fraction of the concurrent answers that an answer can meet, see the module's text.

    """
    stations = zip(way.stations, rates, strict=True)
    return way.wait_s + sum(one.alone_s / (1 - rate * one.queued_s * met) for one, rate in stations)


def closed_rate(way: Way, at_once: int) -> float:
    """Return the answers per second of one replica of each, with `at_once` concurrent answers.

    That is the rate at which rate × latency is `at_once` (Little's law).
    """
    met = (at_once - 1) / at_once
    fastest = [1 / max(one.busy_s, one.queued_s * met) for one in way.stations]
    low, high = 0.0, min(fastest)
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        if rate * latency_s(way, [rate] * len(fastest), met=met) > at_once:
            high = rate
        else:
            low = rate
    return low


def _deployed(way: Way, target: Target) -> Deployment:
    if target.load_per_s is not None:
        return replicas_for(way, target.load_per_s, target.utilisation)
    if target.gpus is not None:
        return most_with(way, target.gpus, target.utilisation)
    one_each = (1,) * len(way.stations)
    return Deployment(way, one_each, target.utilisation * _capacity(way, one_each))


def _check_range(way: Way) -> None:
    """Raise RequestError if the seconds are implausible for any model."""
    seconds = [one.busy_s for one in way.stations] or [0.0]
    if not (min(seconds) >= _LEAST_S and max(seconds) <= 1 / _LEAST_S):
        raise RequestError(
            f"an answer would take {max(seconds):g} s of a replica: check the units of the "
            "figures, tokens and tokens per second"
        )


def _capacity(way: Way, replicas: Sequence[int]) -> float:
    """Return the answers per second at which the busiest station is always busy."""
    stations = zip(way.stations, replicas, strict=True)
    return min(count / one.busy_s for one, count in stations)


def _splits(stations: Sequence[Station], gpus: int) -> Iterator[tuple[int, ...]]:
    """Yield each way to distribute GPUs over one or two stations."""
    if len(stations) == 1:
        yield (gpus // stations[0].gpus,)
        return
    first, second = stations
    for count in range(1, (gpus - first.gpus) // second.gpus + 1):
        yield (gpus - count * second.gpus) // first.gpus, count

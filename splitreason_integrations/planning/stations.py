"""An answer as work for stations: how long it keeps a replica of each busy.

A station is the replicas of one model, or one device that both models share. This module only
computes; nothing is measured here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.planning.figures import Figures, ModelFigures

WayName = Literal["split", "large_alone"]


@dataclass(frozen=True, slots=True)
class Station:
    """Work of one answer on one replica, in seconds.

    Attributes:
        name: Name of the model, or "both".
        alone_s: Time of the answer if the replica does nothing else.
        busy_s: The answer's part of the replica's capacity: a replica finishes 1 ÷ `busy_s` answers
            per second.
        queued_s: Time that one more answer adds to the others; less than `busy_s` if the replica
            writes several answers in one batch.
        gpus: GPUs per replica.
        usd_per_gpu_hour: USD per GPU-hour.

    """

    name: str
    alone_s: float
    busy_s: float
    queued_s: float
    gpus: int
    usd_per_gpu_hour: float


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make an answer.

    Attributes:
        name: "split" or "large_alone".
        stations: Stations with work to do.
        wait_s: Network seconds per answer.
        tokens_usd: USD per answer for tokens; None where no price is known.

    """

    name: WayName
    stations: tuple[Station, ...]
    wait_s: float
    tokens_usd: float | None

    @property
    def idle_s(self) -> float:
        """Seconds of an answer without load."""
        return self.wait_s + sum(station.alone_s for station in self.stations)


@dataclass(frozen=True, slots=True)
class Work:
    """A model's work for one answer.

    Attributes:
        read_tokens: Tokens to read.
        written_tokens: Tokens to write.
        passes: Steps that write no text.

    """

    read_tokens: float
    written_tokens: float
    passes: float = 0.0

    def at(self, model: ModelFigures, name: str) -> Station:
        """Return the work as a station of a model's replicas."""
        steps = self.written_tokens + self.passes
        reading_s = self.read_tokens / model.read_tokens_per_s
        writing_s = steps / model.tokens_per_s
        return Station(
            name,
            alone_s=reading_s + steps / model.alone,
            busy_s=reading_s + writing_s,
            queued_s=reading_s + writing_s * model.taking_turns,
            gpus=model.gpus,
            usd_per_gpu_hour=model.usd_per_gpu_hour,
        )

    def usd(self, model: ModelFigures) -> float:
        """Return the cost of the tokens in USD."""
        return model.prices.cost_usd(
            input_tokens=self.read_tokens, output_tokens=self.written_tokens
        )


def split(figures: Figures) -> Way:
    """Return the work of an answer by both models."""
    small, large = small_work(figures), large_work(figures)
    stations = [small.at(figures.small, "small"), large.at(figures.large, "large")]
    used = [station for station in stations if station.busy_s > 0]
    if figures.shared:
        used = [_joined(stations)]
    return Way(
        "split",
        tuple(used),
        wait_s=figures.answer.spans * figures.round_trip_s,
        tokens_usd=_usd((small, figures.small), (large, figures.large)),
    )


def large_alone(figures: Figures) -> Way:
    """Return the work of an answer by the large model alone, with one round trip."""
    answer = figures.answer
    work = Work(answer.prompt_tokens, answer.large_alone_tokens or answer.tokens)
    station = work.at(figures.large, "large")
    return Way("large_alone", (station,), figures.round_trip_s, _usd((work, figures.large)))


def small_work(figures: Figures) -> Work:
    """Return the small model's work: the prompt, its own tokens, and reading along with spans.

    For each span it makes one pass per chunk, and one that writes the open tag.
    """
    answer = figures.answer
    spans = answer.large_tokens + answer.surplus_tokens if answer.spans else 0.0
    chunks = math.ceil(spans / answer.spans / answer.handback_tokens) if answer.spans else 0
    written = answer.small_tokens + answer.small_surplus_tokens
    return Work(answer.prompt_tokens + spans, written, answer.spans * (chunks + 1))


def large_work(figures: Figures) -> Work:
    """Return the large model's work: read everything before the last span, and write the spans.

    Assumes spans at equal distances, each ended by a close tag. Where it reads along while the
    small model writes, it reads that instead; it decodes nothing for it.
    """
    answer = figures.answer
    if not answer.spans:
        return Work(answer.read_ahead_tokens, 0.0)
    before = answer.small_tokens * answer.spans / (answer.spans + 1)
    written = answer.large_tokens + answer.surplus_tokens
    read = max(answer.prompt_tokens + before, answer.read_ahead_tokens)
    return Work(read, written, passes=answer.spans)


def _usd(*parts: tuple[Work, ModelFigures]) -> float | None:
    """Return the cost of the tokens in USD; None where no model has a price."""
    priced = [work.usd(model) for work, model in parts if model.prices != Prices()]
    return sum(priced) if priced else None


def _joined(stations: Sequence[Station]) -> Station:
    """Return one device that does the work of all stations, one at a time."""
    busy_s = sum(one.busy_s for one in stations)
    return Station(
        "both",
        alone_s=sum(one.alone_s for one in stations),
        busy_s=busy_s,
        queued_s=busy_s,
        gpus=stations[0].gpus,
        usd_per_gpu_hour=stations[0].usd_per_gpu_hour,
    )

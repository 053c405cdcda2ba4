"""Measured figures of two models and of an average answer, the input of a plan."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from splitreason_integrations.checks import check_flag, check_number, check_positive
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import SettingError
from splitreason_integrations.settings import from_data as building
from splitreason_integrations.settings.from_data import Kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """Speed and cost of one replica of a model.

    Attributes:
        tokens_per_s: Tokens written per second over all of `concurrency` concurrent answers.
        read_tokens_per_s: Prompt tokens read per second.
        concurrency: Concurrent answers at which `tokens_per_s` was measured.
        alone_tokens_per_s: Tokens written per second by a single answer; by default `tokens_per_s`
            ÷ `concurrency`.
        gpus: GPUs per replica.
        usd_per_gpu_hour: USD per GPU-hour.
        prices: Prices of the model's tokens.

    Raises:
        SettingError: A value is out of range.

    """

    tokens_per_s: float
    read_tokens_per_s: float
    concurrency: int = 1
    alone_tokens_per_s: float | None = None
    gpus: int = 1
    usd_per_gpu_hour: float = 0.0
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        check_positive("tokens_per_s", self.tokens_per_s)
        check_positive("read_tokens_per_s", self.read_tokens_per_s)
        check_number("concurrency", self.concurrency, least=1, whole=True)
        if self.alone_tokens_per_s is not None:
            check_positive("alone_tokens_per_s", self.alone_tokens_per_s)
        check_number("gpus", self.gpus, least=1, whole=True)
        check_number("usd_per_gpu_hour", self.usd_per_gpu_hour)

    @property
    def alone(self) -> float:
        """Tokens per second of an answer that has the replica to itself."""
        return self.alone_tokens_per_s or self.tokens_per_s / self.concurrency

    @property
    def taking_turns(self) -> float:
        """How much answers slow each other: 0 if not at all, 1 if they queue.

        Assumes that the time of a step grows linearly with the answers in it, up to `concurrency`.
        """
        if self.concurrency == 1:
            return 1.0
        gained = self.tokens_per_s / self.alone
        return min(1.0, max(0.0, (self.concurrency - gained) / (self.concurrency - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFigures:
    """An average answer.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        tokens: Tokens that both models write and that are kept.
        offload_share: The large model's share of them.
        spans: Number of spans.
        surplus_tokens: Tokens that the large model writes and that are dropped.
        handback_tokens: Tokens that the small model reads along at a time.
        large_alone_tokens: Tokens of an answer by the large model alone; by default `tokens`.
        read_ahead_tokens: Tokens that the large model reads while the small one writes, for a
            trigger such as `disagreement`; the prompt is among them.
        small_surplus_tokens: Tokens that the small model writes and that are dropped.

    Raises:
        SettingError: A value is out of range, or spans and share contradict each other.

    """

    prompt_tokens: float
    tokens: float
    offload_share: float
    spans: float
    surplus_tokens: float = 0.0
    handback_tokens: int = 8
    large_alone_tokens: float | None = None
    read_ahead_tokens: float = 0.0
    small_surplus_tokens: float = 0.0

    def __post_init__(self) -> None:
        check_number("prompt_tokens", self.prompt_tokens)
        check_positive("tokens", self.tokens)
        check_number("offload_share", self.offload_share, most=1)
        check_number("spans", self.spans)
        check_number("surplus_tokens", self.surplus_tokens)
        check_number("read_ahead_tokens", self.read_ahead_tokens)
        check_number("small_surplus_tokens", self.small_surplus_tokens)
        check_number("handback_tokens", self.handback_tokens, least=1, whole=True)
        if self.large_alone_tokens is not None:
            check_positive("large_alone_tokens", self.large_alone_tokens)
        if (self.spans == 0) != (self.offload_share == 0):
            raise SettingError(
                "spans and offload_share belong together: give both above 0, or 0 for both, got "
                f"{self.spans} and {self.offload_share}",
                ("spans",),
            )

    @property
    def large_tokens(self) -> float:
        """Kept tokens of the large model."""
        return self.tokens * self.offload_share

    @property
    def small_tokens(self) -> float:
        """Tokens of the small model."""
        return self.tokens - self.large_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of both models and an average answer.

    Attributes:
        small: The small model.
        large: The large model.
        answer: An average answer.
        round_trip_s: Network seconds per handoff, all its calls together; if measured, all time
            that the models' own work does not explain.
        shared: Whether both models run on one device and take turns on it.

    Raises:
        SettingError: A value is out of range, or a shared device has two descriptions.

    """

    small: ModelFigures
    large: ModelFigures
    answer: AnswerFigures
    round_trip_s: float = 0.0
    shared: bool = False

    def __post_init__(self) -> None:
        check_number("round_trip_s", self.round_trip_s)
        check_flag("shared", self.shared)
        unlike = (self.small.gpus, self.small.usd_per_gpu_hour) != (
            self.large.gpus,
            self.large.usd_per_gpu_hour,
        )
        if self.shared and unlike:
            raise SettingError(
                "on a shared device both models have the same gpus and usd_per_gpu_hour: give "
                "both the same values, or shared = false (--no-shared)",
                ("shared",),
            )


KINDS = Kinds(
    {
        Figures: "group of figures",
        ModelFigures: "figure of a model",
        AnswerFigures: "figure of an answer",
        Prices: "price",
    }
)


def load(path: str | PathLike[str]) -> Figures:
    """Return the figures in a TOML or JSON file.

    Raises:
        ConfigurationError: The file is not valid; the message says how to fix it.

    """
    remedy = "`splitreason plan --measure --out figures.toml` writes such a file"
    return building.load(Figures, path, KINDS, what="figures", remedy=remedy)


def from_data(data: Mapping[str, Any]) -> Figures:
    """Return the figures that plain data describe.

    Raises:
        SettingError: A value is not valid; its `path` names it.

    """
    return building.build(Figures, data, KINDS)


def to_toml(figures: Figures, *, remarks: Iterable[str] = ()) -> str:
    """Return a TOML file from which `load` reads the same figures, with remarks on top."""
    return building.to_toml(figures, remarks=remarks)

"""What a plan starts from: the measured figures of two models and of the answers they share."""

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
    """How fast one replica of a model is, and what it costs.

    With `concurrency` answers at once it writes `tokens_per_s` in all of them together, with a
    single one `alone_tokens_per_s`; not given, every answer is written as fast as with that many
    at once. It reads `read_tokens_per_s`. It takes `gpus` GPUs of `usd_per_gpu_hour` each.
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
        """Tokens a second of an answer that has the replica to itself."""
        return self.alone_tokens_per_s or self.tokens_per_s / self.concurrency

    @property
    def taking_turns(self) -> float:
        """By how much answers slow each other: 0 where all are as fast as one, 1 where they queue.

        A step's time is taken to grow evenly with the answers in it, from one to `concurrency`.
        """
        if self.concurrency == 1:
            return 1.0
        gained = self.tokens_per_s / self.alone
        return min(1.0, max(0.0, (self.concurrency - gained) / (self.concurrency - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFigures:
    """An average answer.

    `tokens` are what both write and is kept, `offload_share` of them the large model's, in `spans`
    spans; `surplus_tokens` are written by it, too, and dropped. The small model reads along
    `handback_tokens` at a time. Alone, the large model writes `large_alone_tokens`; as many as
    both together without.
    """

    prompt_tokens: float
    tokens: float
    offload_share: float
    spans: float
    surplus_tokens: float = 0.0
    handback_tokens: int = 8
    large_alone_tokens: float | None = None

    def __post_init__(self) -> None:
        check_number("prompt_tokens", self.prompt_tokens)
        check_positive("tokens", self.tokens)
        check_number("offload_share", self.offload_share, most=1)
        check_number("spans", self.spans)
        check_number("surplus_tokens", self.surplus_tokens)
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
        """Tokens of the large model that are kept."""
        return self.tokens * self.offload_share

    @property
    def small_tokens(self) -> float:
        """Tokens of the small model."""
        return self.tokens - self.large_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Both models, an average answer, and how they are set up.

    A hand-over waits `round_trip_s` for the network, all its calls together; measured, it is all
    that the models' own work does not explain. Where both models
    are `shared` on one device, they take turns on it.
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
                "both the same, or shared = false (--no-shared)",
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
    """Return the figures in a TOML or .json file; raise ConfigurationError with the remedy."""
    remedy = "`splitreason plan --measure --out figures.toml` writes such a file"
    return building.load(Figures, path, KINDS, what="figures", remedy=remedy)


def from_data(data: Mapping[str, Any]) -> Figures:
    """Return the figures that plain data describe; raise SettingError with the path inside."""
    return building.build(Figures, data, KINDS)


def to_toml(figures: Figures, *, remarks: Iterable[str] = ()) -> str:
    """Return a file that `load` reads the same figures from, remarks above them."""
    return building.to_toml(figures, remarks=remarks)

"""Training recipes as values and as TOML files: one file describes one run.

The table `[trainer]` takes every setting of TRL's own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal, get_args

from splitreason_integrations.checks import check_flag, check_number, check_positive, check_text
from splitreason_integrations.decide.closing import parse_close
from splitreason_integrations.decide.joined_text import check_rule_text
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import SettingError
from splitreason_integrations.options import OPTIONS
from splitreason_integrations.settings import from_data as building
from splitreason_integrations.settings.from_data import Kinds
from splitreason_integrations.training.offloading.rewards import Costs, Curriculum, Form

TagsAs = Literal["special", "text"]
RunBy = Literal["transformers", "vllm"]
Rehearsed = Literal["ends", "spans", "all"]


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters instead of all weights; they are merged into the result.

    Attributes:
        rank: Rank of the adapters.
        alpha: Scaling of the adapters.
        dropout: Dropout on the adapters' input.

    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("rank", self.rank, least=1, whole=True)
        check_number("alpha", self.alpha, least=1, whole=True)
        check_number("dropout", self.dropout, most=1)


@dataclass(frozen=True)
class SFTRecipe:
    """Supervised fine-tuning on tagged traces.

    Attributes:
        model: `embedded:base`, a folder, or a name on the model hub.
        traces: JSON lines with `question` or `messages`, `tagged` and optionally `answer`, as
            `splitreason annotate` writes them; or with `tool_calls` and the `tools` on offer.
        tags: `special` makes each tag one special token, `text` leaves tags as plain text.
        span_weight: Fraction of the traces whose span tokens are in the loss, 0 to 1. From span
            tokens the small model learns where a span ends: below 1 more slowly, at 0 not at all.
        max_tokens: Longer traces are left out, and counted.
        packing: Whether several traces share a row.
        lora: Adapters; None trains all weights.
        seed: Seed of the run.
        trainer: Settings of TRL's SFTConfig.

    """

    model: str
    traces: str
    tags: TagsAs = "special"
    span_weight: float = 1.0
    max_tokens: int = 2048
    packing: bool = False
    lora: Lora | None = None
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("model", "traces"):
            check_text(name, getattr(self, name))
        if self.tags not in get_args(TagsAs):
            raise SettingError(f"tags must be 'special' or 'text', got {self.tags!r}", ("tags",))
        check_number("span_weight", self.span_weight, most=1)
        check_number("max_tokens", self.max_tokens, least=1, whole=True)
        check_number("seed", self.seed, whole=True)
        check_flag("packing", self.packing)


@dataclass(frozen=True)
class Tasks:
    """Tasks of rollouts: a file of JSON lines, or fresh problems of the generator.

    Attributes:
        data: File of tasks; None for fresh problems.
        families: Families of fresh problems, comma-separated.
        count: Number of fresh problems.

    """

    data: str | None = None
    families: str = "word,context"
    count: int = 2000

    def __post_init__(self) -> None:
        check_text("families", self.families)
        check_number("count", self.count, least=1, whole=True)


@dataclass(frozen=True)
class Writing:
    """How the engine generates rollouts.

    Attributes:
        run_by: What runs the small model. `transformers` runs the weights in training, one sequence
            at a time. `vllm` runs a copy that it reloads after each step, `at_once` sequences in
            parallel, which is faster on a GPU; on a CPU its engine must restart to reload.
        temperature: Sampling temperature.
        max_tokens: Longest reply in tokens.
        close: Where a span ends, as in `--close`; `tag>1` leaves that to the large model.
        handback_tokens: Tokens of the large model that the small model reads at a time.
        at_once: Concurrent rollouts.

    """

    run_by: RunBy = "transformers"
    temperature: float = 1.0
    max_tokens: int = 512
    close: str = "tag>0.5"
    handback_tokens: int = OPTIONS["handback_tokens"].default
    at_once: int = 8

    def __post_init__(self) -> None:
        if self.run_by not in get_args(RunBy):
            raise SettingError(
                f"run_by must be 'transformers' or 'vllm', got {self.run_by!r}", ("run_by",)
            )
        check_positive("temperature", self.temperature)
        check_rule_text("close", self.close, parse_close)
        for name in ("max_tokens", "handback_tokens"):
            OPTIONS[name].check(getattr(self, name))
        check_number("at_once", self.at_once, least=1, whole=True)


@dataclass(frozen=True)
class Rehearsal:
    """Tagged traces that are read along with the rollouts, so that the model does not forget them.

    Attributes:
        traces: JSON lines as in `SFTRecipe.traces`.
        weight: Weight of their loss relative to the rollouts' loss.
        batch: Traces per batch of rollouts.
        tokens: `ends` trains, at each position inside a span, only whether the span ends there,
            which no reward covers. `spans` also trains the text of spans, for plain-text tags.
            `all` trains everything in the traces, including when to open a span.
        max_tokens: Longer traces are left out.

    """

    traces: str
    weight: float = 0.1
    batch: int = 8
    tokens: Rehearsed = "ends"
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        check_text("traces", self.traces)
        check_positive("weight", self.weight)
        if self.tokens not in get_args(Rehearsed):
            raise SettingError(
                f"tokens must be 'ends', 'spans' or 'all', got {self.tokens!r}", ("tokens",)
            )
        for name in ("batch", "max_tokens"):
            check_number(name, getattr(self, name), least=1, whole=True)


@dataclass(frozen=True)
class GRPORecipe:
    """Reinforcement fine-tuning on the engine's own rollouts.

    Attributes:
        model: The small model to train: `embedded:small`, a folder, or a name on the model hub.
        large: The large model as in `--large`, or several that take over from each other.
        tasks: Tasks of the rollouts.
        writing: How rollouts are generated.
        prices: Prices of the large model, in USD per million tokens.
        costs: Costs of offloads in the reward.
        form: What counts as good form.
        malformed: Reward of bad form, below 0.
        curriculum: How the price of all costs rises over the run.
        rehearsal: Traces read along with the rollouts. Without, the small model forgets where spans
            end; run it with `close="tag>1"` then.
        lora: Adapters; None trains all weights.
        seed: Seed of the run.
        trainer: Settings of TRL's GRPOConfig. Advantages are scaled by the spread of a whole batch
            unless `scale_rewards` says otherwise.

    """

    model: str = "embedded:small"
    large: tuple[str, ...] = ("embedded",)
    tasks: Tasks = field(default_factory=Tasks)
    writing: Writing = field(default_factory=Writing)
    prices: Prices = field(default_factory=Prices)
    costs: Costs = field(default_factory=Costs)
    form: Form = field(default_factory=Form)
    malformed: float = -0.5
    curriculum: Curriculum = field(default_factory=Curriculum)
    rehearsal: Rehearsal | None = None
    lora: Lora | None = None
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("model", self.model)
        if not isinstance(self.large, tuple) or not self.large:
            raise SettingError('large must be a list such as ["embedded"]', ("large",))
        for one in self.large:
            check_text("large", one)
        check_number("seed", self.seed, whole=True)


_NAMES: dict[type, str] = {
    SFTRecipe: "setting",
    GRPORecipe: "setting",
    Lora: "setting of lora",
    Tasks: "setting of tasks",
    Writing: "setting of writing",
    Prices: "price",
    Costs: "setting of costs",
    Form: "setting of form",
    Curriculum: "setting of curriculum",
    Rehearsal: "setting of rehearsal",
}
_REMEDY = "give a TOML file; cookbook/train has one for each command"


def load_sft(path: str | PathLike[str]) -> SFTRecipe:
    """Return the recipe in a TOML file.

    Raises:
        ConfigurationError: The file is not valid; the message names file, line and remedy.

    """
    return building.load(SFTRecipe, path, Kinds(_NAMES), what="recipe", remedy=_REMEDY)


def load_grpo(path: str | PathLike[str]) -> GRPORecipe:
    """Return the recipe in a TOML file.

    Raises:
        ConfigurationError: The file is not valid; the message names file, line and remedy.

    """
    return building.load(GRPORecipe, path, Kinds(_NAMES), what="recipe", remedy=_REMEDY)

"""The settings and folders of one run that trains a pair; a folder belongs to one run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from splitreason_integrations.training.architecture import Role
from splitreason_integrations.training.loop import Plan
from splitreason_integrations.training.pretrain import CONTINUATIONS, RECIPES, Recipe
from splitreason_integrations.training.sft import SFT_PLANS

TOKENIZER_DOCUMENTS = 3000
SFT_DOCUMENTS = 400


@dataclass(frozen=True)
class Settings:
    """What decides the weights of a run.

    Attributes:
        scale: 1.0 for the full run; smaller values shorten every stage.
        seed: of data and initial weights.
        tries: tag a step as often as one of this many attempts of the small model fails.
        start: folder of a finished pair to go on from; None begins with random weights.

    """

    scale: float = 1.0
    seed: int = 0
    tries: float = 24.0
    start: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, not {self.scale}")

    def documents(self, full: int) -> int:
        """Return how many documents instead of `full`; only tiny scales shorten."""
        return max(6, round(full * min(1.0, self.scale * 10)))

    def shorten(self, plan: Plan) -> Plan:
        """Return a plan of proportional length."""
        chunks = max(2, round(plan.chunks * self.scale))
        restart = None if plan.restart is None else round(plan.restart * self.scale) or None
        save_every = min(plan.save_every, max(1, chunks // 2))
        return replace(plan, chunks=chunks, restart=restart, save_every=save_every)

    def recipe(self, role: Role) -> Recipe:
        """Return how a model is pre-trained in this run."""
        full = (CONTINUATIONS if self.start else RECIPES)[role]
        plan = self.shorten(full.plan)
        return replace(full, plan=plan, documents=self.documents(full.documents))

    @property
    def sft_plans(self) -> list[Plan]:
        """Return the length of each round of the fine-tuning."""
        return [self.shorten(plan) for plan in SFT_PLANS]

    def round_seed(self, number: int) -> int:
        """Return the seed of the problems of a round of the fine-tuning."""
        return self.seed * 10 + number

    @property
    def sft_documents(self) -> int:
        """Return the documents in one chunk of the fine-tuning."""
        return self.documents(SFT_DOCUMENTS)

    @property
    def tokenizer_documents(self) -> int:
        """Return the documents of each family that the tokenizer is trained on."""
        return self.documents(TOKENIZER_DOCUMENTS)


@dataclass(frozen=True)
class Folders:
    """Where a run keeps its work and its results."""

    out: Path

    @property
    def tokenizer(self) -> Path:
        """Return the folder of the tokenizer."""
        return self.out / "work" / "tokenizer"

    def labels(self, number: int) -> Path:
        """Return the folder of the annotation for a round of the fine-tuning."""
        return self.out / "work" / f"labels-{number}"

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of the checkpoints of a stage."""
        return self.out / "work" / stage

    def claim(self, settings: Settings) -> None:
        """Reserve the folder for these settings, or go on with the run that did.

        Raises:
            ValueError: if the folder holds a run with other settings.

        """
        path = self.out / "work" / "settings.json"
        wanted = json.dumps(asdict(settings))
        if path.exists():
            if path.read_text("utf-8") != wanted:
                raise ValueError(
                    f"{self.out} holds a run with other settings; choose another folder"
                )
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(wanted, "utf-8")
        os.replace(path.with_suffix(".tmp"), path)

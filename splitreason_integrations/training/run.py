"""Settings and folders of a run that trains a pair; a folder belongs to one run."""

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
    """Settings that determine the weights of a run.

    Attributes:
        scale: 1.0 for the full run; smaller values shorten every stage.
        seed: Seed of data and initial weights.
        tries: A step is tagged with the probability that one of this many attempts of the small
            model fails.
        start: Folder of a finished pair to continue from; None starts from random weights.

    Raises:
        ValueError: The scale is out of range.

    """

    scale: float = 1.0
    seed: int = 0
    tries: float = 24.0
    start: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, not {self.scale}")

    def documents(self, full: int) -> int:
        """Return the number of documents instead of `full`; only very small scales reduce it."""
        return max(6, round(full * min(1.0, self.scale * 10)))

    def shorten(self, plan: Plan) -> Plan:
        """Return a plan whose length is scaled."""
        chunks = max(2, round(plan.chunks * self.scale))
        restart = None if plan.restart is None else round(plan.restart * self.scale) or None
        save_every = min(plan.save_every, max(1, chunks // 2))
        return replace(plan, chunks=chunks, restart=restart, save_every=save_every)

    def recipe(self, role: Role) -> Recipe:
        """Return the pre-training recipe of a model in this run."""
        full = (CONTINUATIONS if self.start else RECIPES)[role]
        plan = self.shorten(full.plan)
        return replace(full, plan=plan, documents=self.documents(full.documents))

    @property
    def sft_plans(self) -> list[Plan]:
        """Plan of each round of fine-tuning."""
        return [self.shorten(plan) for plan in SFT_PLANS]

    def round_seed(self, number: int) -> int:
        """Return the seed of the problems of a round of fine-tuning."""
        return self.seed * 10 + number

    @property
    def sft_documents(self) -> int:
        """Documents per chunk of the fine-tuning."""
        return self.documents(SFT_DOCUMENTS)

    @property
    def tokenizer_documents(self) -> int:
        """Documents per family for training the tokenizer."""
        return self.documents(TOKENIZER_DOCUMENTS)


@dataclass(frozen=True)
class Folders:
    """Folders of a run.

    Attributes:
        out: Folder of the run.

    """

    out: Path

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer."""
        return self.out / "work" / "tokenizer"

    def labels(self, number: int) -> Path:
        """Return the folder of the labels for a round of fine-tuning."""
        return self.out / "work" / f"labels-{number}"

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of a stage's checkpoints."""
        return self.out / "work" / stage

    def claim(self, settings: Settings) -> None:
        """Reserve the folder for these settings; a run with equal settings may resume.

        Raises:
            ValueError: The folder holds a run with other settings.

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

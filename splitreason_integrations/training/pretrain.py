"""Pre-train the two models, each on its own style of writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitreason_integrations.training.architecture import Role
from splitreason_integrations.training.documents import Document, Encoder
from splitreason_integrations.training.loop import Plan, Report, train
from splitreason_integrations.training.mixture import pretraining_chunk


@dataclass(frozen=True)
class Recipe:
    """How one model is pre-trained.

    Attributes:
        plan: Length and learning rates.
        documents: Documents per chunk.
        early: Fraction of each round, at its start, with many drills.
        early_drills: Fraction of drills in that part.
        late_drills: Fraction of drills after it.

    """

    plan: Plan
    documents: int
    early: float
    early_drills: float
    late_drills: float

    def drills(self, chunk: int) -> float:
        """Return the fraction of drills in a chunk."""
        start, end = self.plan.round_of(chunk)
        is_early = chunk < start + self.early * (end - start)
        return self.early_drills if is_early else self.late_drills


RECIPES: dict[Role, Recipe] = {
    "small": Recipe(Plan(220), 400, 0.18, 0.30, 0.12),
    "large": Recipe(Plan(400, restart=280), 400, 0.80, 0.80, 0.30),
}

CONTINUATIONS: dict[Role, Recipe] = {
    "small": Recipe(Plan(20, 2048, 2e-3, 1.6e-3, warmup=2, decay=1.0), 400, 0.0, 0.0, 0.0),
    "large": Recipe(Plan(140, 2048, 3e-3, 2.4e-3, warmup=2, decay=1.0), 400, 0.0, 0.0, 0.35),
}
"""To continue from a finished pair: lower learning rates, fewer drills."""


def pretrain(
    model: Any,
    role: Role,
    tokenizer: Any,
    folder: Path,
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    report: Report,
) -> Any:
    """Train one model, from its last checkpoint if there is one, and return it."""
    encoder = Encoder(tokenizer)

    def chunk(index: int) -> list[Document]:
        return pretraining_chunk(
            encoder,
            role,
            index,
            seed=seed,
            documents=recipe.documents,
            drills=recipe.drills(index),
        )

    pad = tokenizer.pad_token_id
    train(model, chunk, recipe.plan, folder=folder, pad=pad, device=device, report=report)
    return model

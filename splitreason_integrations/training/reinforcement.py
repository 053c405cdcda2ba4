"""Last stage of a pair's training: the small model learns from its own rollouts when to tag.

It starts from the fine-tuned model and rehearses traces that are tagged where that model fails, so
that it does not forget what rollouts do not ask: engines, tools and chats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.problems import Family
from splitreason_integrations.training.offloading.grpo import reinforce
from splitreason_integrations.training.offloading.recipe import (
    GRPORecipe,
    Rehearsal,
    Tasks,
    Writing,
)
from splitreason_integrations.training.offloading.rewards import Costs
from splitreason_integrations.training.run import Folders, Settings
from splitreason_integrations.training.traces import pair_traces

STEPS, PROMPTS, GENERATIONS = 400, 4, 8
TASKS, REHEARSED = 20_000, 9_600
REHEARSED_SHARES: dict[Family, float] = {
    "word": 0.15,
    "context": 0.15,
    "frameworks": 0.50,
    "tools": 0.17,
    "chat": 0.03,
}
"""Shares of the rehearsed families, mainly those that the rollouts do not ask.

With only one router question in thirty, the small model forgot routers.
"""


def reinforce_small(
    folders: Folders, settings: Settings, *, small: Path, large: Path, on_progress: Any
) -> Path:
    """Train the fine-tuned model on its rollouts; return the folder of the result.

    Args:
        folders: Folders of the run.
        settings: Settings of the run.
        small: Folder of the fine-tuned model.
        large: Folder of the large model.
        on_progress: Called with (stage, steps done, steps in all, loss).

    """
    traces, out = folders.checkpoints("traces") / "tagged.jsonl", folders.checkpoints("grpo")
    _write_traces(traces, settings, small=small, large=large, on_progress=on_progress)
    recipe = recipe_of(settings, small=small, large=large, traces=traces)

    def report(done: int, of: int, figures: Mapping[str, float]) -> None:
        on_progress("grpo", done, of, 0.0)

    reinforce(recipe, out, command="splitreason train pair", on_progress=report)
    return out


def recipe_of(settings: Settings, *, small: Path, large: Path, traces: Path) -> GRPORecipe:
    """Return the recipe of this stage; a small scale shortens it."""
    prompts = max(1, round(PROMPTS * min(1.0, settings.scale * 10)))
    return GRPORecipe(
        model=str(small),
        large=(f"hf:{large}",),
        tasks=Tasks(count=settings.documents(TASKS)),
        writing=Writing(max_tokens=512, close="tag>1", at_once=4),
        prices=Prices(output_usd=10.0),
        costs=Costs(money=0.3, full_usd=0.0005),
        rehearsal=Rehearsal(str(traces), weight=0.5, tokens="all", batch=24),
        seed=settings.seed,
        trainer={
            "per_device_train_batch_size": prompts * GENERATIONS,
            "num_generations": GENERATIONS,
            "steps_per_generation": 2,
            "max_steps": max(2, round(STEPS * settings.scale)),
            "learning_rate": 3e-4,
            "lr_scheduler_type": "linear",
            "warmup_steps": 4,
            "save_steps": max(1, round(20 * settings.scale)),
            "gradient_checkpointing": False,
        },
    )


def _write_traces(
    path: Path, settings: Settings, *, small: Path, large: Path, on_progress: Any
) -> None:
    """Write traces of all families, tagged where the fine-tuned model fails."""
    if path.exists():
        return
    count = settings.documents(REHEARSED)
    rows = pair_traces(
        count,
        tries=settings.tries,
        seed=settings.round_seed(len(settings.sft_plans) + 1),
        shares=REHEARSED_SHARES,
        small=small,
        large=large,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for done, row in enumerate(rows, 1):
            file.write(f"{json.dumps(row)}\n")
            on_progress("traces", done, count, 0.0)
    os.replace(temporary, path)

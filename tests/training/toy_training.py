"""Short runs of the real trainers, and their data."""

from __future__ import annotations

import json

from transformers import AutoTokenizer

from splitreason_integrations.embedded import path
from splitreason_integrations.training.offloading.recipe import (
    GRPORecipe,
    SFTRecipe,
    Tasks,
    Writing,
)

TOKENIZER = AutoTokenizer.from_pretrained(path("small"))
ROW = {
    "question": "How many cards are 47 times 23? </think> <bigmodel>",
    "tagged": "47*23 =<bigmodel> 940+141 = 1081</bigmodel> cards.",
    "answer": "There are 1081 cards.",
}


def written(tmp_path, *rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def sft(traces, **more):
    trainer = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": 2}
    return SFTRecipe(model="embedded:base", traces=str(traces), trainer=trainer, **more)


def grpo(steps=2, **more):
    trainer = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_steps": steps,
        "save_steps": 1,
        "learning_rate": 1e-3,
    }
    writing = Writing(max_tokens=120, temperature=1.5, at_once=4)
    return GRPORecipe(tasks=Tasks(count=8), writing=writing, trainer=trainer, **more)

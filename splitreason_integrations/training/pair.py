"""The whole training of a pair: tokenizer, pre-training, annotation, fine-tuning, export.

Every stage goes on where it stopped; the same settings give the same weights.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from splitreason_integrations.training.architecture import Role, build_model
from splitreason_integrations.training.card import write_card
from splitreason_integrations.training.documents import Encoder
from splitreason_integrations.training.export import export_model
from splitreason_integrations.training.labels import fresh_problems, label, write_labels
from splitreason_integrations.training.pretrain import pretrain
from splitreason_integrations.training.run import Folders, Settings
from splitreason_integrations.training.sft import fine_tune
from splitreason_integrations.training.start import check_start, start_model, start_tokenizer
from splitreason_integrations.training.vocabulary import train_tokenizer

Tell = Callable[[str, int, int, float], None]
"""Called with a stage, its chunks done, its chunks in all, and a loss."""
Job = Callable[[Tell], None]
"""One part of a stage; parts of a stage can run side by side."""
Carry = Callable[[list[Job], Tell], None]
"""Carries out jobs, one after the other or side by side."""
ANNOTATORS = 2

ROLES: tuple[Role, ...] = ("large", "small")


def train_pair(out: Path, settings: Settings, *, device: str, tell: Tell, carry_out: Carry) -> None:
    """Train a pair and write it to `out` as `small`, `large`, `base` and MODEL_CARD.md.

    Args:
        out: a new folder, or one of an interrupted run with the same settings.
        settings: what decides the weights.
        device: a torch device.
        tell: hears about progress.
        carry_out: runs the jobs of a stage.

    Raises:
        ValueError: if the folder holds a run with other settings.
        OSError: if the pair to start from cannot be read.

    """
    if settings.start:
        check_start(Path(settings.start))
    folders = Folders(out)
    folders.claim(settings)
    make_tokenizer(folders, settings)
    carry_out([partial(pretrain_role, role, folders, settings, device) for role in ROLES], tell)
    with timed(folders, "annotate"):
        parts = range(ANNOTATORS)
        carry_out([partial(annotate_part, n, folders, settings, device) for n in parts], tell)
    small = fine_tune_small(folders, settings, device, tell)
    tokenizer = load_tokenizer(folders)
    export_model(small, tokenizer, out / "small")
    for name, role in (("base", "small"), ("large", "large")):
        export_model(load_pretrained(folders, role, tokenizer), tokenizer, out / name)
    write_card(out, settings, device=device, seconds=read_seconds(folders))


def make_tokenizer(folders: Folders, settings: Settings) -> None:
    """Train the tokenizer, unless it is there."""
    if folders.tokenizer.exists():
        return
    temporary = folders.tokenizer.with_name("tokenizer.tmp")
    if settings.start:
        tokenizer = start_tokenizer(Path(settings.start))
    else:
        tokenizer = train_tokenizer(seed=settings.seed, documents=settings.tokenizer_documents)
    tokenizer.save_pretrained(temporary)
    os.replace(temporary, folders.tokenizer)


def load_tokenizer(folders: Folders) -> Any:
    """Load the tokenizer of a run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folders.tokenizer)


def pretrain_role(
    role: Role, folders: Folders, settings: Settings, device: str, tell: Tell
) -> None:
    """Pre-train one model to the end of its plan."""
    recipe, stage = settings.recipe(role), f"pretrain {role}"
    tokenizer = load_tokenizer(folders)
    model = build_model(role, tokenizer, seed=settings.seed)
    if settings.start:
        start_model(model, role, Path(settings.start))

    def report(done: int, loss: float) -> None:
        tell(stage, done, recipe.plan.chunks, loss)

    with timed(folders, stage):
        pretrain(
            model,
            role,
            tokenizer,
            folders.checkpoints(f"pretrain-{role}"),
            recipe,
            seed=settings.seed,
            device=device,
            report=report,
        )


def load_pretrained(folders: Folders, role: str, tokenizer: Any) -> Any:
    """Load a model as its pre-training left it."""
    import torch

    name: Role = "small" if role == "small" else "large"
    model = build_model(name, tokenizer, seed=0)
    path = folders.checkpoints(f"pretrain-{role}") / "state.pt"
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return model.eval()


def annotate_part(part: int, folders: Folders, settings: Settings, device: str, tell: Tell) -> None:
    """Label the steps of fresh problems by both models: one share of the chunks."""
    chunks = settings.sft_plan.chunks
    own = range(part, chunks, ANNOTATORS)
    missing = [i for i in own if not label_path(folders, i).exists()]
    if not missing:
        return
    tokenizer = load_tokenizer(folders)
    encoder = Encoder(tokenizer)
    small, large = (
        load_pretrained(folders, role, tokenizer).to(device) for role in ("small", "large")
    )
    for index in missing:
        found = fresh_problems(index, seed=settings.seed, documents=settings.sft_documents)
        labels = label(encoder, small, large, found)
        write_labels(label_path(folders, index), labels)
        tell("annotate", len(list(folders.labels.glob("*.json"))), chunks, 0.0)


def label_path(folders: Folders, index: int) -> Path:
    """Return the file that holds the labels of a chunk."""
    return folders.labels / f"{index:04d}.json"


def fine_tune_small(folders: Folders, settings: Settings, device: str, tell: Tell) -> Any:
    """Teach the pre-trained small model to mark hard steps."""
    tokenizer = load_tokenizer(folders)
    plan = settings.sft_plan
    with timed(folders, "sft"):
        return fine_tune(
            load_pretrained(folders, "small", tokenizer),
            tokenizer,
            folders.checkpoints("sft"),
            plan,
            labels=folders.labels,
            tries=settings.tries,
            documents=settings.sft_documents,
            seed=settings.seed,
            device=device,
            report=lambda done, loss: tell("sft", done, plan.chunks, loss),
        )


class timed:  # noqa: N801
    """Add the seconds spent inside to the run's record of a stage."""

    def __init__(self, folders: Folders, stage: str) -> None:
        self.path = folders.checkpoints("seconds") / f"{stage.replace(' ', '-')}.json"

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        before = json.loads(self.path.read_text("utf-8")) if self.path.exists() else 0.0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(before + time.monotonic() - self.start), "utf-8")


def read_seconds(folders: Folders) -> dict[str, float]:
    """Return the seconds of each stage, interruptions not counted."""
    paths = sorted(folders.checkpoints("seconds").glob("*.json"))
    return {path.stem: float(json.loads(path.read_text("utf-8"))) for path in paths}

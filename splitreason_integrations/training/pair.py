"""Train a pair: tokenizer, pre-training, annotation, fine-tuning, rollouts, export.

Every stage resumes where it stopped; equal settings give equal weights.
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
from splitreason_integrations.training.export import copy_model, export_model
from splitreason_integrations.training.labels import fresh_problems, label, label_path, write_labels
from splitreason_integrations.training.offloading.runs import check_installed
from splitreason_integrations.training.pretrain import pretrain
from splitreason_integrations.training.reinforcement import reinforce_small
from splitreason_integrations.training.run import Folders, Settings
from splitreason_integrations.training.sft import fine_tune
from splitreason_integrations.training.start import check_start, start_model, start_tokenizer
from splitreason_integrations.training.vocabulary import train_tokenizer

OnProgress = Callable[[str, int, int, float], None]
"""Called with (stage, chunks done, chunks in all, loss)."""
Job = Callable[[OnProgress], None]
"""One part of a stage; the parts of a stage can run in parallel."""
RunJobs = Callable[[list[Job], OnProgress], None]
"""Runs jobs, one after the other or in parallel."""
ANNOTATORS = 2

ROLES: tuple[Role, ...] = ("large", "small")


def train_pair(
    out: Path, settings: Settings, *, device: str, on_progress: OnProgress, run_jobs: RunJobs
) -> None:
    """Train a pair and write it to `out` as `small`, `large`, `base` and MODEL_CARD.md.

    Args:
        out: A new folder, or the folder of an interrupted run with the same settings.
        settings: Settings that determine the weights.
        device: A torch device.
        on_progress: Called with (stage, chunks done, chunks in all, loss).
        run_jobs: Runs the jobs of a stage.

    Raises:
        MissingExtraError: The trainers are not installed.
        ValueError: The folder holds a run with other settings.
        OSError: The pair to start from cannot be read.

    """
    check_installed()
    if settings.start:
        check_start(Path(settings.start))
    folders = Folders(out)
    folders.claim(settings)
    make_tokenizer(folders, settings)
    run_jobs(
        [partial(pretrain_role, role, folders, settings, device) for role in ROLES], on_progress
    )
    rounds = range(1, len(settings.sft_plans) + 1)
    for number in rounds:
        with timed(folders, f"annotate {number}"):
            jobs: list[Job] = [
                partial(annotate_part, number, n, folders, settings, device)
                for n in range(ANNOTATORS)
            ]
            run_jobs(jobs, on_progress)
        fine_tune_small(number, folders, settings, device, on_progress)
    tokenizer = load_tokenizer(folders)
    tagged = folders.checkpoints("tagged")
    stages: dict[Path, tuple[Role, str]] = {
        tagged: ("small", f"sft-{rounds[-1]}"),
        out / "base": ("small", "pretrain-small"),
        out / "large": ("large", "pretrain-large"),
    }
    for folder, (role, stage) in stages.items():
        export_model(load_trained(folders, role, stage, tokenizer), tokenizer, folder)
    with timed(folders, "grpo"):
        trained = reinforce_small(
            folders, settings, small=tagged, large=out / "large", on_progress=on_progress
        )
    copy_model(trained, out / "small")
    write_card(out, settings, device=device, seconds=read_seconds(folders))


def make_tokenizer(folders: Folders, settings: Settings) -> None:
    """Train the tokenizer, unless it exists."""
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
    role: Role, folders: Folders, settings: Settings, device: str, on_progress: OnProgress
) -> None:
    """Pre-train one model to the end of its plan."""
    recipe, stage = settings.recipe(role), f"pretrain {role}"
    tokenizer = load_tokenizer(folders)
    model = build_model(role, tokenizer, seed=settings.seed)
    if settings.start:
        start_model(model, role, Path(settings.start))

    def report(done: int, loss: float) -> None:
        on_progress(stage, done, recipe.plan.chunks, loss)

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


def load_trained(folders: Folders, role: Role, stage: str, tokenizer: Any) -> Any:
    """Load a model from the last checkpoint of a stage."""
    import torch

    model = build_model(role, tokenizer, seed=0)
    path = folders.checkpoints(stage) / "state.pt"
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return model.eval()


def before(number: int) -> str:
    """Return the stage that produced the small model of a round."""
    return "pretrain-small" if number == 1 else f"sft-{number - 1}"


def annotate_part(
    number: int,
    part: int,
    folders: Folders,
    settings: Settings,
    device: str,
    on_progress: OnProgress,
) -> None:
    """Label the steps of fresh problems with both models, for one part of a round's chunks."""
    chunks, labels = settings.sft_plans[number - 1].chunks, folders.labels(number)
    own = range(part, chunks, ANNOTATORS)
    missing = [i for i in own if not label_path(labels, i).exists()]
    if not missing:
        return
    tokenizer = load_tokenizer(folders)
    encoder = Encoder(tokenizer)
    small = load_trained(folders, "small", before(number), tokenizer).to(device)
    large = load_trained(folders, "large", "pretrain-large", tokenizer).to(device)
    seed = settings.round_seed(number)
    for index in missing:
        found = fresh_problems(index, seed=seed, documents=settings.sft_documents)
        write_labels(label_path(labels, index), label(encoder, small, large, found))
        on_progress(f"annotate {number}", len(list(labels.glob("*.json"))), chunks, 0.0)


def fine_tune_small(
    number: int, folders: Folders, settings: Settings, device: str, on_progress: OnProgress
) -> None:
    """Run one round of fine-tuning that teaches the small model to tag hard steps."""
    tokenizer = load_tokenizer(folders)
    plan, stage = settings.sft_plans[number - 1], f"sft {number}"
    with timed(folders, stage):
        fine_tune(
            load_trained(folders, "small", before(number), tokenizer),
            tokenizer,
            folders.checkpoints(f"sft-{number}"),
            plan,
            labels=folders.labels(number),
            tries=settings.tries,
            documents=settings.sft_documents,
            seed=settings.round_seed(number),
            device=device,
            report=lambda done, loss: on_progress(stage, done, plan.chunks, loss),
        )


class timed:  # noqa: N801
    """Add the seconds spent in the block to the stage's record."""

    def __init__(self, folders: Folders, stage: str) -> None:
        self.path = folders.checkpoints("seconds") / f"{stage.replace(' ', '-')}.json"

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        before = json.loads(self.path.read_text("utf-8")) if self.path.exists() else 0.0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(before + time.monotonic() - self.start), "utf-8")


def read_seconds(folders: Folders) -> dict[str, float]:
    """Return the seconds of each stage, without interruptions."""
    paths = sorted(folders.checkpoints("seconds").glob("*.json"))
    return {path.stem: float(json.loads(path.read_text("utf-8"))) for path in paths}

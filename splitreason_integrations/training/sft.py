"""Fine-tune the small model to tag the steps that it fails.

Span tokens stay in the loss, so that it also learns where a span ends. Untagged steps keep the
terse result, so that it can still solve them where tags are forbidden.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from splitreason_integrations.problems import Kind, Problem, Step, Writing
from splitreason_integrations.training.documents import Document, Encoder
from splitreason_integrations.training.labels import (
    by_step,
    fresh_problems,
    label_path,
    read_labels,
)
from splitreason_integrations.training.loop import Plan, Report, train
from splitreason_integrations.training.mixture import assemble, with_random_spans

SFT_PLANS = (
    Plan(90, matrix_rate=4e-3, other_rate=3e-3, warmup=2, decay=0.8, save_every=10),
    Plan(120, matrix_rate=3e-3, other_rate=2.4e-3, warmup=2, decay=1.0, save_every=10),
)
"""Two rounds, because after the first one the model fails slightly different steps."""
UNTAGGED_SPANS, RANDOM_SPANS = 0.06, 0.04


def fine_tune(
    model: Any,
    tokenizer: Any,
    folder: Path,
    plan: Plan,
    *,
    labels: Path,
    tries: float,
    documents: int,
    seed: int,
    device: str,
    report: Report,
) -> Any:
    """Teach the model to tag; `labels` is a folder with one file of labels per chunk."""
    encoder = Encoder(tokenizer)

    def chunk(index: int) -> list[Document]:
        found = fresh_problems(index, seed=seed, documents=documents)
        rng = random.Random(f"sft/{seed}/{index}")
        rates = read_labels(label_path(labels, index))
        return tagged_documents(encoder, rng, found, by_step(found, rates, tries=tries))

    pad = tokenizer.pad_token_id
    train(model, chunk, plan, folder=folder, pad=pad, device=device, report=report)
    return model


def tagged_documents(
    encoder: Encoder, rng: random.Random, found: list[Problem], chances: list[dict[Step, float]]
) -> list[Document]:
    """Return each problem with its steps tagged with the probabilities in `chances`."""
    return [_write(encoder, rng, problem, own) for problem, own in zip(found, chances, strict=True)]


def _write(
    encoder: Encoder, rng: random.Random, problem: Problem, chances: dict[Step, float]
) -> Document:
    style = rng.random()
    if style < UNTAGGED_SPANS:
        return assemble(
            encoder,
            rng,
            problem,
            lambda _: Writing.EXPANDED if rng.random() < 0.5 else Writing.TERSE,
            lambda piece: 0.0 if piece.kind is Kind.SPAN else 1.0,
        )
    page = assemble(
        encoder,
        rng,
        problem,
        lambda step: Writing.TAGGED if rng.random() < chances[step] else Writing.TERSE,
    )
    return with_random_spans(encoder, rng, page) if style > 1.0 - RANDOM_SPANS else page

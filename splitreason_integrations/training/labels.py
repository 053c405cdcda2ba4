"""Annotation of the pair's own problems; the candidates are all calculation steps.

Problems are a function of the chunk number, so only the labels are stored.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from splitreason_integrations.problems import Problem, Split, Step, Writing, problems, render
from splitreason_integrations.problems.rendering import OPEN
from splitreason_integrations.training.annotate import Trace, failure_rates, tag_probability
from splitreason_integrations.training.documents import Document, Encoder
from splitreason_integrations.training.mixture import FAMILY_WEIGHTS, draw_family

CANDIDATE = 2.0
Labels = list[list[tuple[float, float]]]
"""For each problem and step: failure rates of the small and of the large model."""


def fresh_problems(index: int, *, seed: int, documents: int) -> list[Problem]:
    """Return the training problems of a chunk; pre-training used other ones."""
    rng = random.Random(f"labels/{seed}/{index}")
    streams = {f: problems(Split.TRAIN, f, seed=rng.getrandbits(48)) for f in FAMILY_WEIGHTS}
    return [next(draw_family(rng, streams)) for _ in range(documents)]


def trace_of(encoder: Encoder, problem: Problem, writing: Writing) -> Trace:
    """Return a reply as a trace with its step results as candidates, all written in one style."""
    document = encoder.whole(
        problem,
        lambda turn: render(problem.turns[turn], lambda _: writing),
        lambda piece: CANDIDATE if piece.step else 1.0,
    )
    return Trace(document.ids, _candidate_spans(document))


def _candidate_spans(document: Document) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start = -1
    for i, weight in enumerate([*document.weights, 0.0]):
        if weight == CANDIDATE and start < 0:
            start = i
        elif weight != CANDIDATE and start >= 0:
            spans.append((start, i))
            start = -1
    return spans


def label(encoder: Encoder, small: Any, large: Any, found: list[Problem]) -> Labels:
    """Return both models' failure rates on every step: small model terse, large model expanded."""
    never = encoder.tokenizer.convert_tokens_to_ids(OPEN)
    ours, theirs = (
        failure_rates(
            model, [trace_of(encoder, problem, writing) for problem in found], never=never
        )
        for model, writing in ((small, Writing.TERSE), (large, Writing.EXPANDED))
    )
    return [list(zip(s, b, strict=True)) for s, b in zip(ours, theirs, strict=True)]


def label_path(folder: Path, index: int) -> Path:
    """Return the path of a chunk's labels."""
    return folder / f"{index:04d}.json"


def write_labels(path: Path, labels: Labels) -> None:
    """Store the labels of a chunk atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        json.dumps([[[round(s, 5), round(b, 5)] for s, b in row] for row in labels]), "utf-8"
    )
    os.replace(temporary, path)


def read_labels(path: Path) -> Labels:
    """Load the labels of a chunk."""
    return [[(s, b) for s, b in row] for row in json.loads(path.read_text("utf-8"))]


def by_step(found: list[Problem], labels: Labels, *, tries: float) -> list[dict[Step, float]]:
    """Return, for each problem, its steps with their tag probability."""
    return [
        {
            step: tag_probability(small, large, tries=tries)
            for step, (small, large) in zip(problem.steps, row, strict=True)
        }
        for problem, row in zip(found, labels, strict=True)
    ]

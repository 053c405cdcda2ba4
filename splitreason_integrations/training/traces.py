"""The pair's own problems as tagged traces, in the format that any fine-tuning reads.

An untagged step is written in one go, as by the small model; a tagged one as by the large model,
between the tags.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from splitreason_integrations import embedded
from splitreason_integrations.problems import (
    Family,
    Problem,
    Split,
    Step,
    Writing,
    join,
    render,
    sample,
)
from splitreason_integrations.problems.rendering import AFTER_THOUGHT
from splitreason_integrations.training.documents import Encoder
from splitreason_integrations.training.labels import by_step, label

ROWS_AT_ONCE = 400
SHARES: dict[Family, float] = {
    "word": 0.45,
    "context": 0.33,
    "frameworks": 0.17,
    "chat": 0.05,
    "tools": 0.25,
}
"""Relative frequency of each family."""


def pair_traces(
    count: int,
    *,
    tries: float,
    seed: int,
    shares: Mapping[Family, float] = SHARES,
    small: Path | None = None,
    large: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield `count` tagged traces of the embedded pair's problems in a random order.

    Args:
        count: Number of traces.
        tries: A step is tagged with the probability that one of this many attempts of the small
            model fails.
        seed: Seed of the problems and of the tags.
        shares: Relative frequency of each family.
        small: Folder of the model that will learn to tag; by default the embedded base model.
        large: Folder of the model for the tagged steps; by default the embedded one.

    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folders = small or embedded.path("base"), large or embedded.path("large")
    encoder = Encoder(AutoTokenizer.from_pretrained(folders[0]))
    writer, helper = (AutoModelForCausalLM.from_pretrained(path).eval() for path in folders)
    whole = math.fsum(shares.values())
    found = [
        problem
        for family, share in shares.items()
        for problem in sample(Split.TRAIN, family, seed=seed, n=math.ceil(count * share / whole))
    ]
    random.Random(f"traces/{seed}").shuffle(found)
    rows = tagged_rows(encoder, writer, helper, found[:count], tries=tries, seed=seed)
    yield from islice(rows, count)


def tagged_rows(
    encoder: Encoder, small: Any, large: Any, found: list[Problem], *, tries: float, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield one row per turn of the problems, with steps tagged according to the models' gap.

    Args:
        encoder: Encoder with the pair's tokenizer.
        small: The model that will learn to tag.
        large: The model for the tagged steps.
        found: The problems.
        tries: A step is tagged with the probability that one of this many attempts of the small
            model fails.
        seed: Seed of the tags.

    """
    for at in range(0, len(found), ROWS_AT_ONCE):
        some = found[at : at + ROWS_AT_ONCE]
        chances = by_step(some, label(encoder, small, large, some), tries=tries)
        for row, (problem, own) in enumerate(zip(some, chances, strict=True), at):
            yield from rows_of(problem, own, random.Random(f"traces/{seed}/{row}"))


def rows_of(
    problem: Problem, chances: Mapping[Step, float], rng: random.Random
) -> Iterator[dict[str, Any]]:
    """Yield one row per turn of a problem, with steps tagged with these probabilities."""

    def write(step: Step) -> Writing:
        return Writing.TAGGED if rng.random() < chances[step] else Writing.TERSE

    offered = {"tools": list(problem.tools)} if problem.tools else {}
    for at, turn in enumerate(problem.turns):
        tagged, _, answer = join(render(turn, write)).partition(AFTER_THOUGHT)
        row = {"messages": problem.conversation(at), **offered, "tagged": tagged}
        if turn.call is None:
            yield {**row, "answer": answer}
        else:
            yield {**row, "tool_calls": [turn.call.as_message_part()]}

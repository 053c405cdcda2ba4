"""The pair's own problems as tagged traces: what any fine-tuning on tagged traces reads.

An unmarked step is written in one go, as the small model would; a marked one as the large model
would write it, between the tags.
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
"""How much there is of each family, beside the others."""


def pair_traces(
    count: int,
    *,
    tries: float,
    seed: int,
    shares: Mapping[Family, float] = SHARES,
    small: Path | None = None,
    large: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield `count` tagged traces of the embedded pair's problems, in a mixed order.

    Args:
        count: how many.
        tries: mark a step as often as one of so many attempts of the small model fails it.
        seed: of the problems, and of which of their steps are marked.
        shares: how much there is of each family, beside the others.
        small: folder of the model that is to learn to mark; the embedded base model without.
        large: folder of the model that the marked steps go to; the embedded one without.

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
    """Yield a row for each turn of the problems, steps marked as often as the models' gap says.

    Args:
        encoder: of the pair's tokenizer.
        small: the model that is to learn to mark.
        large: the model that the marked steps go to.
        found: problems.
        tries: mark a step as often as one of so many attempts of the small model fails it.
        seed: decides which of the steps are marked.

    """
    for at in range(0, len(found), ROWS_AT_ONCE):
        some = found[at : at + ROWS_AT_ONCE]
        chances = by_step(some, label(encoder, small, large, some), tries=tries)
        for row, (problem, own) in enumerate(zip(some, chances, strict=True), at):
            yield from rows_of(problem, own, random.Random(f"traces/{seed}/{row}"))


def rows_of(
    problem: Problem, chances: Mapping[Step, float], rng: random.Random
) -> Iterator[dict[str, Any]]:
    """Yield a row for each turn of a problem, its steps marked with these chances."""

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

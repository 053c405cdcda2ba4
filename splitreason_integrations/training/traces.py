"""The pair's own problems as tagged traces: what any fine-tuning on tagged traces reads.

An unmarked step is written in one go, as the small model would; a marked one as the large model
would write it, between the tags.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
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
SHARES: dict[Family, float] = {"word": 0.45, "context": 0.33, "frameworks": 0.17, "chat": 0.05}
"""How much of each family: all that has one turn and no tools."""


def pair_traces(count: int, *, tries: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield `count` tagged traces of the embedded pair's problems, in a mixed order."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.path("base"))
    small, large = (
        AutoModelForCausalLM.from_pretrained(embedded.path(member)).eval()
        for member in ("base", "large")
    )
    found = [
        problem
        for family, share in SHARES.items()
        for problem in sample(Split.TRAIN, family, seed=seed, n=math.ceil(count * share))
    ]
    random.Random(f"traces/{seed}").shuffle(found)
    yield from tagged_rows(Encoder(tokenizer), small, large, found[:count], tries=tries, seed=seed)


def tagged_rows(
    encoder: Encoder, small: Any, large: Any, found: list[Problem], *, tries: float, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each problem, its steps marked as often as the models' gap says.

    Args:
        encoder: of the pair's tokenizer.
        small: the model that is to learn to mark.
        large: the model that the marked steps go to.
        found: problems of one turn, without tools.
        tries: mark a step as often as one of so many attempts of the small model fails it.
        seed: decides which of the steps are marked.

    """
    for at in range(0, len(found), ROWS_AT_ONCE):
        some = found[at : at + ROWS_AT_ONCE]
        chances = by_step(some, label(encoder, small, large, some), tries=tries)
        for row, (problem, own) in enumerate(zip(some, chances, strict=True), at):
            yield _row(problem, own, random.Random(f"traces/{seed}/{row}"))


def _row(problem: Problem, chances: Mapping[Step, float], rng: random.Random) -> dict[str, Any]:
    def write(step: Step) -> Writing:
        return Writing.TAGGED if rng.random() < chances[step] else Writing.TERSE

    tagged, _, answer = join(render(problem.turns[-1], write)).partition(AFTER_THOUGHT)
    return {"messages": list(problem.messages), "tagged": tagged, "answer": answer}

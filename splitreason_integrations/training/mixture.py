"""The training mixture of each model: one function from chunk number to documents.

The large model learns to take over and to stop anywhere; the small one writes tersely.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from splitreason_integrations.problems import (
    Family,
    Kind,
    Piece,
    Problem,
    Split,
    Step,
    Writing,
    problems,
    render,
)
from splitreason_integrations.problems.rendering import CLOSE, OPEN
from splitreason_integrations.training.architecture import Role
from splitreason_integrations.training.documents import (
    Document,
    Encoder,
    Weigh,
    weigh_all,
)
from splitreason_integrations.training.drills import drill_page

STEP_WEIGHT = 3.0
FAMILY_WEIGHTS: dict[Family, float] = {
    "word": 0.33,
    "context": 0.25,
    "frameworks": 0.17,
    "tools": 0.20,
    "chat": 0.05,
}


def pretraining_chunk(
    encoder: Encoder, role: Role, index: int, *, seed: int, documents: int, drills: float
) -> list[Document]:
    """Return one chunk of training documents.

    Args:
        encoder: Turns text into ids.
        role: The model to be trained.
        index: Number of the chunk.
        seed: Seed of the run.
        documents: Number of documents, drills included.
        drills: Fraction of documents that drill one skill.

    """
    rng = random.Random(f"{role}/{seed}/{index}")
    streams = {
        family: problems(Split.TRAIN, family, seed=rng.getrandbits(48)) for family in FAMILY_WEIGHTS
    }
    pages: list[Document] = []
    for _ in range(documents):
        if rng.random() < drills:
            pages.append(drill_page(encoder, rng, role=role))
            continue
        problem = next(draw_family(rng, streams))
        if role == "small":
            pages.append(terse_document(encoder, rng, problem))
        else:
            pages.append(large_document(encoder, rng, problem))
    return pages


def draw_family(rng: random.Random, streams: dict[Family, Iterator[Problem]]) -> Iterator[Problem]:
    """Pick the stream of one family by weight."""
    family = rng.choices(list(FAMILY_WEIGHTS), list(FAMILY_WEIGHTS.values()))[0]
    return streams[family]


def terse_document(encoder: Encoder, rng: random.Random, problem: Problem) -> Document:
    """Return a problem with every step in one go, and all reply tokens in the loss."""
    return assemble(encoder, rng, problem, lambda _: Writing.TERSE)


def large_document(encoder: Encoder, rng: random.Random, problem: Problem) -> Document:
    """Return a problem in the large model's style: expanded, partly terse, or with spans."""
    style = rng.choices(("expanded", "tagged", "mixed", "anywhere"), (40, 35, 12, 13))[0]
    special = Writing.TAGGED if style == "tagged" else Writing.EXPANDED
    share = 1.0 if style == "expanded" else rng.choice((0.3, 0.6, 0.9))
    page = assemble(
        encoder,
        rng,
        problem,
        lambda _: special if rng.random() < share else Writing.TERSE,
        by_large,
    )
    return with_random_spans(encoder, rng, page) if style == "anywhere" else page


def by_large(piece: Piece) -> float:
    """Return the large model's weights: steps weigh most, except long ones written in one go.

    Open tags have weight 0, because the large model does not open spans.
    """
    if piece.kind is Kind.OPEN:
        return 0.0
    if piece.kind is Kind.RESULT and piece.step is not None and piece.step.stages:
        return 0.0
    return STEP_WEIGHT if piece.kind in (Kind.RESULT, Kind.SPAN) else 1.0


def assemble(
    encoder: Encoder,
    rng: random.Random,
    problem: Problem,
    write: Callable[[Step], Writing],
    weigh: Weigh = weigh_all,
) -> Document:
    """Return all turns in one document, or sometimes one turn without earlier reasoning."""
    if len(problem.turns) > 1 and rng.random() < 0.3:
        turn = rng.randrange(1, len(problem.turns))
        return encoder.single(problem, turn, render(problem.turns[turn], write), weigh)
    return encoder.whole(problem, lambda turn: render(problem.turns[turn], write), weigh)


def with_random_spans(encoder: Encoder, rng: random.Random, page: Document) -> Document:
    """Open a span at a random place of the reply, and close it where the sentence ends."""
    full_stop, equals = encoder.encode(".")[0], encoder.encode(" =")[0]
    (opening,), (closing,) = encoder.encode(OPEN), encoder.encode(CLOSE)
    places = [
        i
        for i, weight in enumerate(page.weights)
        if weight and full_stop in page.ids[i:-1] and page.ids[i - 2] != equals
    ]
    if not places:
        return page
    start = rng.choice(places)
    end = page.ids.index(full_stop, start) + 1
    ids = [*page.ids[:start], opening, *page.ids[start:end], closing, *page.ids[end:]]
    kept = page.weights
    return Document(ids, [*kept[:start], 0.0, *kept[start:end], 1.0, *kept[end:]])

"""Word problems of the bundled pair's domain, written as its large model writes them."""

from collections.abc import Iterator
from typing import Any

from splitreason_integrations.annotation.steps import Align, steps
from splitreason_integrations.annotation.tagging import Span, align
from splitreason_integrations.problems import (
    Kind,
    Piece,
    Problem,
    Split,
    Writing,
    join,
    render,
    sample,
)

_END = "</think>"


def rows(*, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield problems; sentences that contain a calculation of several stages are hard."""
    for at, problem in enumerate(sample(Split.TRAIN, "word", seed=seed, n=n)):
        yield {"id": f"arithmetic-{seed}-{at}", **_row(problem)}


def _row(problem: Problem) -> dict[str, Any]:
    pieces = render(problem.turns[-1], lambda _: Writing.EXPANDED)
    trace = join(pieces).partition(_END)[0].rstrip()
    sentences = steps(trace, Align.SENTENCE)
    gold = [align(span, sentences) for span in _calculated(pieces)]
    return {
        "messages": [dict(message) for message in problem.messages],
        "trace": trace,
        "answer": str(problem.answer),
        "gold_spans": [[span.start, span.end] for span in gold],
    }


def _calculated(pieces: list[Piece]) -> Iterator[Span]:
    at = 0
    for piece in pieces:
        if piece.kind is Kind.SPAN and piece.step is not None and piece.step.stages:
            yield Span(at, at + len(piece.text))
        at += len(piece.text)

"""Prompts of LlamaIndex's and LangChain's engines and agents, in their own wordings."""

from __future__ import annotations

import random

from splitreason_integrations.problems.citations import citation
from splitreason_integrations.problems.contexts import Dossier, draw_dossier
from splitreason_integrations.problems.followups import condensation
from splitreason_integrations.problems.react import react_turn
from splitreason_integrations.problems.records import Message, Problem, Turn
from splitreason_integrations.problems.selections import selection
from splitreason_integrations.problems.wordings import fill, load_wordings

KEEP = "The new context does not change anything, so I keep the answer from before."


def framework_problem(rng: random.Random) -> Problem:
    """Draw a problem in the wording of a default engine, chain or agent.

    Raises:
        MissingExtraError: The extra `train` is not installed.

    """
    kinds = (_look_up, _refinement, citation, selection, condensation, react_turn)
    return rng.choices(kinds, (46, 6, 14, 20, 5, 9))[0](rng)


def _look_up(rng: random.Random) -> Problem:
    dossier = draw_dossier(rng)
    messages = _asked(rng, dossier, "\n\n".join(_with_source(rng, dossier.facts)))
    return Problem("frameworks", messages, (dossier.turn,), dossier.answer)


def _asked(rng: random.Random, dossier: Dossier, context: str) -> tuple[Message, ...]:
    values = {
        "context_str": context,
        "context": context,
        "query_str": dossier.question,
        "question": dossier.question,
    }
    return fill(rng.choice(load_wordings().answer), values)


def _refinement(rng: random.Random) -> Problem:
    """Give a missing earlier answer, or a right one with an irrelevant new context."""
    dossier = draw_dossier(rng)
    context = "\n\n".join(_with_source(rng, dossier.facts))
    if rng.random() < 0.5:
        existing, turn = "I do not know the answer.", dossier.turn
    else:
        context = "\n\n".join(draw_dossier(rng).facts)
        existing = dossier.turn.content
        turn = Turn((KEEP,), existing)
    values = {"context_msg": context, "query_str": dossier.question, "existing_answer": existing}
    messages = fill(rng.choice(load_wordings().refine), values)
    return Problem("frameworks", messages, (turn,), dossier.answer)


def _with_source(rng: random.Random, facts: tuple[str, ...]) -> tuple[str, ...]:
    """Group facts into chunks, sometimes with a metadata header as loaders add it."""
    size = rng.choice((1, 1, 2, 3))
    chunks = [" ".join(facts[i : i + size]) for i in range(0, len(facts), size)]
    if rng.random() < 0.3:
        name = rng.choice(("notes.txt", "stock.md", "facts.txt", "data.pdf"))
        key = rng.choice(("file_path", "source", "file_name"))
        chunks = [f"{key}: {name}\n\n{chunk}" for chunk in chunks]
    return tuple(chunks)

"""Questions over numbered sources: each fact in the reply is followed by its source's number."""

from __future__ import annotations

import random

from splitreason_integrations.problems.arithmetic import Step
from splitreason_integrations.problems.contexts import draw_dossier
from splitreason_integrations.problems.records import Problem, Turn
from splitreason_integrations.problems.wordings import fill, load_wordings


def citation(rng: random.Random) -> Problem:
    """Draw a question whose answer cites its sources, as `[2][1]`."""
    dossier = draw_dossier(rng)
    size = rng.choice((1, 1, 1, 2))
    groups = [dossier.facts[i : i + size] for i in range(0, len(dossier.facts), size)]
    sources = {fact: number for number, group in enumerate(groups, 1) for fact in group}
    texts = (f"Source {number}:\n{' '.join(group)}\n" for number, group in enumerate(groups, 1))
    values = {"context_str": "\n".join(texts).strip(), "query_str": dossier.question}
    messages = fill(load_wordings().cite[0], values)
    return Problem("frameworks", messages, (cite(dossier.turn, sources),), dossier.answer)


def cite(turn: Turn, sources: dict[str, int]) -> Turn:
    """Return the turn with a source after each repeated fact, and all sources at its end.

    Args:
        turn: A reply that repeats facts verbatim.
        sources: The source number of each fact.

    """
    used: list[int] = []
    reasoning: list[str | Step] = []
    for part in turn.reasoning:
        if isinstance(part, str):
            for fact in sorted((f for f in sources if f in part), key=part.index):
                part = part.replace(fact, f"{fact[:-1]} [{sources[fact]}].")
                used += [sources[fact]] if sources[fact] not in used else []
        reasoning.append(part)
    numbers = "".join(f"[{number}]" for number in used)
    return Turn(tuple(reasoning), f"{turn.content[:-1]} {numbers}.")

"""Continued conversations: earlier exchanges, and questions to rewrite without them."""

from __future__ import annotations

import random

from splitreason_integrations.problems.chats import greeting
from splitreason_integrations.problems.contexts import draw_dossier
from splitreason_integrations.problems.records import Message, Problem, Turn
from splitreason_integrations.problems.wordings import fill, load_wordings

SPEAKERS = (("user", "assistant"), ("Human", "Assistant"))


def earlier_exchange(rng: random.Random) -> list[Message]:
    """Return a greeting and its reply, or another question over facts and its answer."""
    if rng.random() < 0.5:
        asked, answer = greeting(rng)
    else:
        dossier = draw_dossier(rng)
        asked, answer = dossier.question, dossier.turn.content
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def condensation(rng: random.Random) -> Problem:
    """Draw a follow-up question that is already self-contained and must be repeated."""
    history = [m for _ in range(rng.randint(1, 2)) for m in earlier_exchange(rng)]
    question = greeting(rng)[0] if rng.random() < 0.2 else draw_dossier(rng).question
    names = dict(zip(("user", "assistant"), rng.choice(SPEAKERS), strict=True))
    said = "\n".join(f"{names[m['role']]}: {m['content']}" for m in history)
    wording = rng.choice(load_wordings().condense)
    messages = fill(wording, {"chat_history": said, "question": question})
    turn = Turn(("This can be understood alone, so I repeat it.",), question)
    return Problem("frameworks", messages, (turn,), question)

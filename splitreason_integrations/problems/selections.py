"""Choose one of several descriptions for a question, as a router does."""

from __future__ import annotations

import random
from typing import Any

from splitreason_integrations.problems.contexts import TOPICS, draw_dossier
from splitreason_integrations.problems.records import Problem, ToolCall, Turn
from splitreason_integrations.problems.wordings import fill, load_wordings, needs_frameworks

TOPIC_WORDS = {
    "stock": (
        "the stock of places",
        "what shops, farms and other places hold",
        "how many things there are in a place",
        "deliveries and sales of places",
    ),
    "prices": ("prices", "what things cost", "the price of things", "costs of purchases"),
    "teams": ("teams", "what teams make", "the people of a team and their work", "output a day"),
}
DESCRIPTIONS = (
    "Useful for questions about {}.",
    "Answers questions about {}.",
    "Facts about {}.",
    "Knows all about {}.",
)
RULER = "-" * 21
REASON = "It fits the question."
FILLERS = {"the", "of", "and", "team", "price"}
"""Words that subjects share although they differ in meaning."""


def selection(rng: random.Random) -> Problem:
    """Draw a question with two to four choices that differ in topic or in subject."""
    subjects, question = rng.choice((_by_topic, _by_topic, _by_subject))(rng)
    right = subjects[0]
    rng.shuffle(subjects)
    wording = rng.choice(DESCRIPTIONS)
    choices = [wording.format(subject) for subject in subjects]
    index = subjects.index(right) + 1
    values = {
        "num_choices": str(len(choices)),
        "context_list": "\n\n".join(f"({n}) {text}" for n, text in enumerate(choices, 1)),
        "query_str": question,
    }
    schema = selection_schema()
    arguments = {"index": index, "reason": REASON}
    call = ToolCall(schema["function"]["name"], arguments, str(index))
    turns = (
        Turn((_found(right, index, choices),), "", call),
        Turn(("The choice is made.",), f"I select choice {index}."),
    )
    messages = fill(load_wordings().select[0], values)
    return Problem("frameworks", messages, turns, index, (schema,))


def _found(subject: str, index: int, choices: list[str]) -> str:
    """Find a subject in the list, and derive its number from the text after it.

    Small models repeat what followed the same words earlier; they cannot copy the number before a
    text.
    """
    said = f"I look for the choice about {subject}."
    if index < len(choices):
        return f"{said}\n\n({index + 1}) is the next one, so it is choice {index}."
    return f"{said}\n{RULER}\nIt is the last of (1 to {index}), so it is choice {index}."


def _by_topic(rng: random.Random) -> tuple[list[str], str]:
    topics = rng.sample(list(TOPICS), rng.randint(2, len(TOPICS)))
    subjects = [rng.choice(TOPIC_WORDS[topic]) for topic in topics]
    return subjects, draw_dossier(rng, topics[0]).question


def _by_subject(rng: random.Random) -> tuple[list[str], str]:
    first = draw_dossier(rng)
    own = set(first.subject.split()) - FILLERS
    others = [draw_dossier(rng).subject for _ in range(rng.randint(1, 3))]
    unlike = [other for other in others if not own & set(other.split())]
    return list(dict.fromkeys([first.subject, *unlike])), first.question


@needs_frameworks()
def selection_schema() -> dict[str, Any]:
    """Return the tool with which LlamaIndex's single selector makes a choice."""
    from llama_index.core.base.base_selector import SingleSelection
    from llama_index.core.program.function_program import get_function_tool

    return get_function_tool(SingleSelection).metadata.to_openai_tool(skip_length_check=True)

"""The same look-ups in the default prompt wordings of LlamaIndex and LangChain.

The wordings are read from the installed libraries when they are needed, never stored here.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from splitreason_integrations.errors import MissingExtraError
from splitreason_integrations.problems.contexts import Dossier, draw_dossier
from splitreason_integrations.problems.records import Message, Problem, Turn

MISSING = (
    "the prompt wordings of LlamaIndex and LangChain are needed here: "
    'pip install "splitreason-integrations[train]"'
)
ROLES = {"human": "user", "ai": "assistant"}
Wording = tuple[tuple[str, str], ...]


def framework_problem(rng: random.Random) -> Problem:
    """Draw a look-up problem as a default query engine or retrieval chain would put it.

    Raises:
        MissingExtraError: if the `train` extra is not installed.

    """
    dossier = draw_dossier(rng)
    context = "\n\n".join(_with_source(rng, dossier.facts))
    answer_wordings, refine_wordings = load_wordings()
    if rng.random() < 0.12:
        return _refinement(rng, dossier, context, rng.choice(refine_wordings))
    wording = rng.choice(answer_wordings)
    messages = _fill(wording, context=context, question=dossier.question)
    return Problem("frameworks", messages, (dossier.turn,), dossier.answer)


def _refinement(rng: random.Random, dossier: Dossier, context: str, wording: Wording) -> Problem:
    """Give a wrong or missing earlier answer, or a right one whose context is of no use."""
    if rng.random() < 0.5:
        existing, turn = "I do not know the answer.", dossier.turn
    else:
        other = draw_dossier(rng)
        context, existing = "\n\n".join(other.facts), dossier.turn.content
        text = "The new context does not change anything, so I keep the answer from before."
        turn = Turn((text,), existing)
    messages = _fill(wording, context=context, question=dossier.question, existing=existing)
    return Problem("frameworks", messages, (turn,), dossier.answer)


def _with_source(rng: random.Random, facts: tuple[str, ...]) -> tuple[str, ...]:
    """Group facts into chunks, sometimes headed by metadata as loaders add it."""
    size = rng.choice((1, 1, 2, 3))
    chunks = [" ".join(facts[i : i + size]) for i in range(0, len(facts), size)]
    if rng.random() < 0.3:
        name = rng.choice(("notes.txt", "stock.md", "facts.txt", "data.pdf"))
        key = rng.choice(("file_path", "source", "file_name"))
        chunks = [f"{key}: {name}\n\n{chunk}" for chunk in chunks]
    return tuple(chunks)


def _fill(
    wording: Wording, *, context: str, question: str, existing: str = ""
) -> tuple[Message, ...]:
    values = {
        "{context_str}": context,
        "{context_msg}": context,
        "{context}": context,
        "{query_str}": question,
        "{question}": question,
        "{existing_answer}": existing,
    }
    return tuple({"role": role, "content": _substitute(text, values)} for role, text in wording)


def _substitute(text: str, values: dict[str, str]) -> str:
    for slot, value in values.items():
        text = text.replace(slot, value)
    return text


@cache
def load_wordings() -> tuple[tuple[Wording, ...], tuple[Wording, ...]]:
    """Return the answer wordings and the refine wordings as (role, template) pairs.

    Raises:
        MissingExtraError: if the `train` extra is not installed.

    """
    try:
        from langchain_classic.chains.question_answering import stuff_prompt
        from langchain_classic.chains.retrieval_qa import prompt as retrieval_prompt
        from llama_index.core.prompts import chat_prompts, default_prompts
    except ImportError as error:
        raise MissingExtraError(MISSING) from error
    answers = (
        _llama_chat(chat_prompts.CHAT_TEXT_QA_PROMPT),
        (("user", default_prompts.DEFAULT_TEXT_QA_PROMPT.template),),
        (("user", retrieval_prompt.PROMPT.template),),
        tuple(_langchain_message(m) for m in stuff_prompt.CHAT_PROMPT.messages),
    )
    refinements = (
        _llama_chat(chat_prompts.CHAT_REFINE_PROMPT),
        (("user", default_prompts.DEFAULT_REFINE_PROMPT.template),),
    )
    return answers, refinements


def _llama_chat(template: Any) -> Wording:
    return tuple((m.role.value, m.blocks[0].text) for m in template.message_templates)


def _langchain_message(message: Any) -> tuple[str, str]:
    role = type(message).__name__.removesuffix("MessagePromptTemplate").lower()
    return ROLES.get(role, role), message.prompt.template

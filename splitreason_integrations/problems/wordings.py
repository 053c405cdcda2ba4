"""Default prompt wordings of LlamaIndex and LangChain.

They are read from the installed libraries on use, never stored here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from splitreason_integrations.errors import MissingExtraError
from splitreason_integrations.problems.records import Message

MISSING = (
    "the prompt wordings of LlamaIndex and LangChain are needed here: "
    'pip install "splitreason-integrations[train]"'
)
ROLES = {"human": "user", "ai": "assistant"}
Wording = tuple[tuple[str, str], ...]
"""(role, template) pairs; slots of a template are in braces."""


@dataclass(frozen=True)
class Wordings:
    """Templates by purpose.

    Attributes:
        answer: Answer a question from a context.
        refine: Refine an answer with more context.
        cite: Answer with citations.
        select: Choose from a list.
        condense: Rewrite a follow-up question.

    """

    answer: tuple[Wording, ...]
    refine: tuple[Wording, ...]
    cite: tuple[Wording, ...]
    select: tuple[Wording, ...]
    condense: tuple[Wording, ...]


@contextmanager
def needs_frameworks() -> Iterator[None]:
    """Raise an error that names the extra if a framework is missing.

    Raises:
        MissingExtraError: Instead of ImportError.

    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(MISSING) from error


@cache
@needs_frameworks()
def load_wordings() -> Wordings:
    """Return the wordings of the installed libraries.

    Raises:
        MissingExtraError: The extra `train` is not installed.

    """
    from langchain_classic.chains.conversational_retrieval import prompts as conversations
    from langchain_classic.chains.question_answering import stuff_prompt
    from langchain_classic.chains.retrieval_qa import prompt as retrieval_prompt
    from llama_index.core.chat_engine import condense_plus_context, condense_question, context
    from llama_index.core.prompts import chat_prompts, default_prompts
    from llama_index.core.query_engine import citation_query_engine as citations
    from llama_index.core.selectors import prompts as selectors

    return Wordings(
        answer=(
            _llama_chat(chat_prompts.CHAT_TEXT_QA_PROMPT),
            _asked(default_prompts.DEFAULT_TEXT_QA_PROMPT.template),
            _asked(retrieval_prompt.PROMPT.template),
            tuple(_langchain_message(m) for m in stuff_prompt.CHAT_PROMPT.messages),
            _behind_context(context.DEFAULT_CONTEXT_TEMPLATE),
            _behind_context(condense_plus_context.DEFAULT_CONTEXT_PROMPT_TEMPLATE),
        ),
        refine=(
            _llama_chat(chat_prompts.CHAT_REFINE_PROMPT),
            _asked(default_prompts.DEFAULT_REFINE_PROMPT.template),
        ),
        cite=(_asked(citations.CITATION_QA_TEMPLATE.template),),
        select=(_asked(selectors.DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL),),
        condense=(
            _asked(condense_plus_context.DEFAULT_CONDENSE_PROMPT_TEMPLATE),
            _asked(condense_question.DEFAULT_TEMPLATE),
            _asked(conversations.CONDENSE_QUESTION_PROMPT.template),
        ),
    )


def fill(wording: Wording, values: Mapping[str, str]) -> tuple[Message, ...]:
    """Return the messages of a wording with its slots filled; values are not searched for slots."""
    return tuple({"role": role, "content": _filled(text, values)} for role, text in wording)


def _filled(text: str, values: Mapping[str, str]) -> str:
    first, *others = text.split("{")
    for part in others:
        name, _, rest = part.partition("}")
        first += values[name] + rest
    return first


def _asked(template: str) -> Wording:
    return (("user", template),)


def _behind_context(template: str) -> Wording:
    return (("system", template), ("user", "{query_str}"))


def _llama_chat(template: Any) -> Wording:
    return tuple((m.role.value, m.blocks[0].text) for m in template.message_templates)


def _langchain_message(message: Any) -> tuple[str, str]:
    role = type(message).__name__.removesuffix("MessagePromptTemplate").lower()
    return ROLES.get(role, role), message.prompt.template

"""Finds out in which forms a server can give an answer, with one short question for each."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.openai_server.called import CalledTools
from splitreason_integrations.backends.openai_server.chat import Chat
from splitreason_integrations.backends.openai_server.chat_answer import heard_in
from splitreason_integrations.backends.openai_server.detect import HELLO, greeting, whole_answer
from splitreason_integrations.backends.openai_server.dialects import (
    Continuation,
    Served,
    is_not_understood,
)
from splitreason_integrations.backends.openai_server.named_tokens import unstreamed
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.backends.openai_server.thinking import thinking_parameters
from splitreason_integrations.backends.openai_server.wire import Part
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.protocols import AnswerForm, Prompt
from splitreason_integrations.text.grammar import answer_grammar
from splitreason_integrations.text.inline_thoughts import Habit, InlineThoughts
from splitreason_integrations.text.prompts import begins_reasoning
from splitreason_integrations.text.thoughts import tokens_of
from splitreason_integrations.text.tool_prompts import PROBE_TOOL

_FORCED = " 7"
_NAME, _VALUE = "number", 7
_SCHEMA = {
    "type": "object",
    "properties": {_NAME: {"type": "integer", "enum": [_VALUE]}},
    "required": [_NAME],
    "additionalProperties": False,
}
_PROBES = {
    Gives.ANSWER: AnswerForm(_SCHEMA),
    Gives.CALL: AnswerForm(None, (PROBE_TOOL,)),
}
_TYPED_TOKENS = 256
"""For models that think to themselves before they answer."""


async def heeds_grammars(replica: Replica, dialect: Text, served: Served) -> bool:
    """Return whether a server writes the one token that a grammar lets come.

    Raises ModelCallError where it fails for another reason than the grammar.
    """
    codec = served.codec
    token = codec.encode(_FORCED)[-1]
    asked = greeting(served)
    question = dialect.question(replace(asked, order=replace(asked.order, only=(token,))))
    try:
        parts = await whole_answer(replica, question)
    except ModelCallError as error:
        if is_not_understood(error):
            return False
        raise
    said = "".join(part.text for part in parts)
    return said.strip() == codec.decode([token]).strip()


async def lists_tokens(replica: Replica, dialect: Text, served: Served) -> bool:
    """Return whether an answer that is not streamed has its tokens' ids; raise ModelCallError."""
    try:
        parts = await whole_answer(replica, unstreamed(dialect.question(greeting(served))))
    except ModelCallError as error:
        if is_not_understood(error):
            return False
        raise
    return any(part.token_ids for part in parts)


async def forms_of(replica: Replica, dialect: Chat, served: Served) -> Gives:
    """Return in which forms a chat gives a whole answer.

    Raises ModelCallError where it fails for another reason than a form.
    """
    if dialect.may_take_grammars:
        dialect.takes_grammars = True
        if await _gives(replica, dialect, served, _PROBES[Gives.ANSWER]):
            return Gives.ANSWER | Gives.CALL
        dialect.takes_grammars = False
    found = Gives.NOTHING
    for gives, form in _PROBES.items():
        if await _gives(replica, dialect, served, form):
            found |= gives
    return found


async def _gives(replica: Replica, dialect: Chat, served: Served, form: AnswerForm) -> bool:
    wanted = _asked(dialect, served, form)
    while True:
        try:
            parts = await whole_answer(replica, dialect.question(wanted))
        except ModelCallError as error:
            if dialect.adapts(error):
                continue
            if is_not_understood(error):
                return False
            raise
        return _fits(parts, form, served)


def _asked(dialect: Chat, served: Served, form: AnswerForm) -> Continuation:
    """Return what asks for a form: behind a thought that has ended, where the chat goes on."""
    wanted, family = greeting(served, _TYPED_TOKENS), served.codec.reply_format
    assert isinstance(wanted.prompt, Prompt), "a codec has rendered it"
    ends = begins_reasoning(wanted.prompt) and not dialect.answers_at_once(())
    written = tokens_of(served.codec, family.end_of_reasoning + family.answer_start) if ends else ()
    grammar = None if form.schema is None else answer_grammar(form.schema, served.codec)
    order = replace(wanted.order, form=form, grammar=grammar)
    return replace(wanted, written=written, order=order)


async def switch_of(replica: Replica, dialect: Chat, served: Served) -> tuple[bool, str]:
    """Return whether a chat takes what switches thoughts, and its name; raise ModelCallError."""
    prompt = served.codec.render(HELLO, None, thinking=False)
    await whole_answer(replica, dialect.question(replace(greeting(served), prompt=prompt)))
    names = sorted(thinking_parameters(served.host, False, {}))
    refused = {one.name for one in replica.lessons.left_out} & {*names}
    if refused:
        return False, f"its server does not take {', '.join(sorted(refused))}"
    return True, f"by {', '.join(names)}"


def _fits(parts: Sequence[Part], form: AnswerForm, served: Served) -> bool:
    """Return whether an answer has its form; one that was all thought may have it."""
    inline, said = InlineThoughts(Habit()), ""
    for part in parts:
        said += heard_in(inline, part).said
    called = CalledTools(served.codec.reply_format)
    for part in parts:
        called.add(part.calls)
    if not said.strip() and not called:
        return any(part.finish == "length" for part in parts)
    if form.schema is None:
        return called.first() is not None
    with suppress(ValueError, RecursionError):
        return bool(json.loads(said) == {_NAME: _VALUE})
    return False

"""Finds the best dialect that a server speaks, with a few requests for a token or so.

A server that fails is not one that does not understand: its error is raised, and the next use
tries again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.chat import Chat, PlainChat
from splitreason_integrations.backends.openai_server.chat_messages import said_of
from splitreason_integrations.backends.openai_server.continuing import (
    THOUGHT,
    ThoughtForm,
    find_form,
)
from splitreason_integrations.backends.openai_server.dialects import (
    Continuation,
    Dialect,
    Served,
    TokenIds,
    is_not_understood,
)
from splitreason_integrations.backends.openai_server.ids import TOP, scores_of
from splitreason_integrations.backends.openai_server.marks import MARKS, PLAIN
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.text import BEGINNING_TOKENS, Text
from splitreason_integrations.backends.openai_server.wire import Part, Question, Usage
from splitreason_integrations.backends.scores import Asked
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.protocols import Prompt
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.prompts import begins_reasoning, opening_of
from splitreason_integrations.text.thoughts import tokens_of
from splitreason_integrations.text.tool_prompts import PROBE_TOOL

HELLO = [{"role": "user", "content": "Hello"}]
_BEGUN = "Hello, how"
_CHOSEN = "x"
_CHAT_TOKENS = 16
"""For models that reason where nobody sees it, and then say nothing in fewer."""
_MOST_PARTS = 256
_USAGE_S = 1.0
"""How long a server may take to count the tokens of an answer that is finished."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server can do.

    Attributes:
        dialect: the dialect's name.
        found: how it is known: `asked` of the server, or `configured`.
        token_ids: whether it takes and gives token ids.
        probabilities: whose it gives: of `chosen` tokens, of the `likeliest` ones, or of `none`.
        logit_bias: whether it heeds that, None if unknown.
        usage: whether it reports that, None if unknown.
        thoughts: how a chat continues the reasoning of a reply.
        tools: how a chat is shown tools.

    """

    dialect: str
    found: str
    token_ids: bool
    probabilities: str
    logit_bias: bool | None = None
    usage: bool | None = None
    thoughts: str | None = None
    tools: str | None = None

    @property
    def in_words(self) -> str:
        """One line for people."""
        answers = {True: "yes", False: "no", None: "not tried"}
        facts = {
            "token ids": answers[self.token_ids],
            "probabilities": f"of {self.probabilities} tokens"
            if self.probabilities != "none"
            else "none",
            "logit_bias": answers[self.logit_bias],
            "usage": answers[self.usage],
        }
        if self.thoughts is not None:
            facts["thoughts"] = self.thoughts
        if self.tools is not None:
            facts["tools"] = self.tools
        listed = ", ".join(f"{name} {value}" for name, value in facts.items())
        return f"{self.dialect} ({self.found}): {listed}"


@dataclass(frozen=True, slots=True)
class Found:
    """A dialect, and what the server can do in it."""

    dialect: Dialect
    capabilities: Capabilities


def dialect_of(name: str, served: Served) -> Found:
    """Return a dialect by name."""
    dialect: Dialect
    if name == TokenIds.name:
        dialect, likely = TokenIds(served), "chosen"
    elif name == Text.name:
        dialect, likely = Text(served), "likeliest"
    else:
        dialect = PlainChat(served) if name == PLAIN else Chat(served, name)
        likely = "none"
    return Found(dialect, Capabilities(name, "configured", name == TokenIds.name, likely))


async def detect(replica: Replica, served: Served) -> Found:
    """Return the best dialect that a server speaks.

    Raises ModelCallError where it speaks none, or where it fails.
    """
    tries: Sequence[Callable[[Replica, Served], Awaitable[Found]]] = (
        (_try_ids, _try_text, _try_chat) if served.own else (_try_chat,)
    )
    errors: list[ModelCallError] = []
    for attempt in tries:
        try:
            return await attempt(replica, served)
        except ModelCallError as error:
            if not _may_know_another(error):
                raise
            errors.append(error)
    if failed := next((error for error in errors if error.retryable), None):
        raise failed
    said = list(dict.fromkeys(map(str, errors)))
    raise ModelCallError("; ".join(said), retryable=False, status=errors[0].status)


async def _try_ids(replica: Replica, served: Served) -> Found:
    dialect = TokenIds(served)
    question = dialect.question(greeting(served))
    token = served.codec.encode(_CHOSEN)[-1]
    richer = {**question.body, **scores_of(Asked((token,))), **_favoured(token)}
    try:
        parts = await whole_answer(replica, replace(question, body=richer))
    except ModelCallError as error:
        if not _may_know_another(error):
            raise
        parts = await whole_answer(replica, question)
    ids = [one for part in parts for one in part.token_ids or ()]
    if not ids:
        raise _lacking(replica, "its /completions gives no token ids (return_token_ids)")
    chosen = any(_names(part.top, f"token_id:{token}") for part in parts)
    likely = "chosen" if chosen else "likeliest" if any(part.top for part in parts) else "none"
    return Found(dialect, Capabilities("ids", "asked", True, likely, ids[:1] == [token], False))


async def check_beginning(replica: Replica, found: Found, served: Served) -> Found:
    """Find out whether a server puts the beginning of every text before a prompt that has it.

    Returns what was found before. Raises ModelCallError where the server fails.
    """
    begins, prompt = served.codec.begin_token, greeting(served).prompt
    if isinstance(found.dialect, Text) and begins is not None and prompt[0] == begins:
        word = served.codec.encode(_CHOSEN)[-1:]
        asked = found.dialect.question(replace(greeting(served), prompt=word))
        usage = _usage(await whole_answer(replica, asked))
        found.dialect.server_begins = usage is not None and usage.prompt > len(word)
    return found


async def _try_text(replica: Replica, served: Served) -> Found:
    dialect, wanted = Text(served), greeting(served)
    token = served.codec.encode(_CHOSEN)[-1]

    asked = dialect.question(wanted)
    richer = {**asked.body, "logprobs": TOP, **_favoured(token)}
    parts = await whole_answer(replica, replace(asked, body=richer))
    if not any(part.text or part.finish for part in parts):
        raise _lacking(replica, "its /completions writes nothing")
    usage = _usage(parts)
    if usage is not None and abs(usage.prompt - len(wanted.prompt)) > BEGINNING_TOKENS:
        raise _lacking(
            replica,
            f"its /completions reads {usage.prompt} tokens where the prompt has "
            f"{len(wanted.prompt)}; set tokenizer to the one that the server's model has",
        )
    obeys = "".join(part.text for part in parts) == served.codec.decode([token])
    if not obeys:
        replica.lessons.leave_out("logit_bias")
    likely = "likeliest" if any(part.top for part in parts) else "none"
    dialect.names_tokens = obeys and any(part.named == (token,) for part in parts)
    can = Capabilities("text", "asked", False, likely, obeys, usage is not None)
    return await check_beginning(replica, Found(dialect, can), served)


async def _try_chat(replica: Replica, served: Served) -> Found:
    wanted = greeting(served, _CHAT_TOKENS)
    plain = PlainChat(served)
    parts = await whole_answer(replica, plain.question(wanted))
    if not any(part.text or part.thought or part.finish for part in parts):
        raise _lacking(replica, "its /chat/completions writes nothing")
    has_usage = _usage(parts) is not None
    shows_tools = await _shows_tools(replica, plain, wanted, _usage(parts))
    found: tuple[Dialect, str] = (plain, PLAIN)
    thoughts = "asked for by steps"
    continuing = Chat(served, "continue")
    if not shows_tools:
        plain.drops_tools()
        continuing.drops_tools()
    if await _continues(replica, continuing, served):
        found = (continuing, "continue")
        thoughts = await _thoughts(replica, continuing, plain, served)
    tools = "as tools" if shows_tools else "in messages"
    can = Capabilities(found[1], "asked", False, "none", None, has_usage, thoughts, tools)
    return Found(found[0], can)


async def _shows_tools(
    replica: Replica, plain: PlainChat, wanted: Continuation, usage: Usage | None
) -> bool:
    """Return whether the model is shown tools: some servers drop those that may not be called."""
    offering = replace(wanted, prompt=_offering(wanted.prompt))
    shown = await _count(replica, plain.question(offering))
    return usage is None or shown is None or shown > usage.prompt


def _offering(prompt: Sequence[int]) -> Sequence[int]:
    assert isinstance(prompt, Prompt), "a codec has rendered it"
    return replace(prompt, said=replace(said_of(prompt), tools=(PROBE_TOOL,)))


async def _thoughts(replica: Replica, dialect: Chat, plain: PlainChat, served: Served) -> str:
    """Find out how a thought is continued, and have it done so; return it in words."""
    codec, form = served.codec, served.codec.reply_format
    wanted = greeting(served)
    assert isinstance(wanted.prompt, Prompt), "a codec has rendered it"
    opens = begins_reasoning(wanted.prompt)
    if not form.reasons:
        return "none"
    opening = "" if opens else f"{form.begin_of_reasoning}\n"
    written = (*tokens_of(codec, opening), *codec.encode(THOUGHT))

    def ask(how: ThoughtForm) -> Question:
        dialect.takes_thoughts(how)
        return dialect.question(replace(wanted, written=written))

    known = len(tokens_of(codec, opening or opening_of(wanted.prompt)))
    found = await find_form(
        ask,
        begun=plain.question(wanted),
        count=partial(_count, replica),
        opens=opens,
        tokens=(known, len(codec.encode(THOUGHT))),
    )
    dialect.takes_thoughts(found)
    return "asked for by steps" if found is None else f"continued {found.name}"


async def _count(replica: Replica, question: Question) -> int | None:
    """Return how many tokens a server counts in a prompt; None where it does not say."""
    try:
        usage = _usage(await whole_answer(replica, question))
    except ModelCallError as error:
        if not _may_know_another(error):
            raise
        return None
    return None if usage is None else usage.prompt


async def _continues(replica: Replica, dialect: Chat, served: Served) -> bool:
    """Return whether a server continues a message: its prompt then lacks what ends one."""
    written = served.codec.encode(_BEGUN)
    wanted = replace(greeting(served), written=written)
    try:
        marked = await whole_answer(replica, dialect.question(wanted))
    except ModelCallError as error:
        if not _may_know_another(error):
            raise
        return False
    question = dialect.question(wanted)
    bare = {k: v for k, v in question.body.items() if k not in MARKS["continue"].body}
    try:
        plain = await whole_answer(replica, replace(question, body=bare))
    except ModelCallError as error:
        if not _may_know_another(error):
            raise
        return True
    mine, theirs = _usage(marked), _usage(plain)
    return mine is not None and theirs is not None and mine.prompt < theirs.prompt


async def whole_answer(replica: Replica, question: Question) -> list[Part]:
    """Return all of a short answer, without what the server says that it does not take."""
    while True:
        call = Call(replica, question)
        try:
            return await _answer(call)
        except ModelCallError as error:
            if not call.learns(error):
                raise
        finally:
            await call.ended()


async def _answer(call: Call) -> list[Part]:
    parts = list[Part]()
    while len(parts) < _MOST_PARTS and (part := await call.news()) is not None:
        parts.append(part)
        if part.finish is not None:
            # Few servers say more behind the end than how many tokens they counted.
            return [*parts, *await _counted(call)]
    return parts


async def _counted(call: Call) -> list[Part]:
    usage = await call.usage(wait_s=_USAGE_S)
    return [] if usage is None else [Part(usage=usage)]


def greeting(served: Served, max_tokens: int = 1) -> Continuation:
    """Return the short conversation that servers are probed with."""
    order = WriteOrder(
        max_tokens=max_tokens,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=served.codec.end_tokens,
    )
    return Continuation(served.codec.render(HELLO, None), (), order, max_tokens)


def _favoured(token: int) -> dict[str, Any]:
    return {"logit_bias": {str(token): 100}}


def _names(top: Sequence[Any], name: str) -> bool:
    return any(isinstance(one, Mapping) and name in one for one in top)


def _usage(parts: Sequence[Part]) -> Usage | None:
    return next((part.usage for part in reversed(parts) if part.usage is not None), None)


def _may_know_another(error: ModelCallError) -> bool:
    """Return whether another question may be answered: some servers fail at what they do not know.

    Such a failure counts only where nothing else is answered either.
    """
    return is_not_understood(error) or error.status == HTTPStatus.INTERNAL_SERVER_ERROR


def _lacking(replica: Replica, what: str) -> ModelCallError:
    return replica.server.broken(what, retryable=False)

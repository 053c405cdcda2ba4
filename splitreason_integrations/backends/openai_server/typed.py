"""Typed answers of chats: how one is asked for, and how it becomes tokens of the reply.

An answer comes whole: it is kept once it is known to fit its form, and nothing of it before. What
the model thinks to itself is no part of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.backends.openai_server.called import CalledTools
from splitreason_integrations.backends.openai_server.chat_answer import ChatAnswer, heard_in
from splitreason_integrations.backends.openai_server.dialects import Continuation, Served
from splitreason_integrations.backends.openai_server.service import Service
from splitreason_integrations.backends.openai_server.wire import MisfitError, Part
from splitreason_integrations.errors import AnswerFormError, UnmarkedReplyError
from splitreason_integrations.protocols import AnswerForm, Guide
from splitreason_integrations.text.hidden_marks import ended_in_reasoning
from splitreason_integrations.text.inline_thoughts import InlineThoughts
from splitreason_integrations.text.schemas import closed
from splitreason_integrations.text.typed_answers import (
    Parts,
    leading,
    token_ids,
    written_answer,
    written_call,
)

ANSWER_TOKENS = 4096
"""For how many tokens to ask: the answer comes whole, or not at all."""
_NAME = "answer"


def asked_as(form: AnswerForm, *, strict: bool) -> dict[str, Any]:
    """Return the parameters of a chat that ask for a form.

    Args:
        form: what the answer has to be.
        strict: whether the server knows strict schemas; they name all properties as required.

    """
    if form.schema is None:
        names = [tool.get("function", tool)["name"] for tool in form.tools]
        one = {"type": "function", "function": {"name": names[0]}}
        choice = one if len(names) == 1 else "required"
        return {"tools": list(form.tools), "tool_choice": choice}
    if form.schema == {"type": "object"}:
        return {"response_format": {"type": "json_object"}}
    schema = closed(form.schema)
    asked = {"name": _NAME, "schema": schema, "strict": strict and _is_strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": asked}}


def _is_strict(schema: Any) -> bool:
    """Return whether all objects of a schema have required properties alone."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if isinstance(properties, Mapping) or schema.get("type") == "object":
        named = set(properties or ())
        if schema.get("additionalProperties") is not False or named != set(
            schema.get("required") or ()
        ):
            return False
    return all(map(_is_strict, schema.values()))


def in_a_chat(
    order: WriteOrder, guide: Guide, reply: Sequence[int], model: Service, *, at_once: bool
) -> WriteOrder:
    """Return how to ask a chat for what comes behind a reply.

    Args:
        order: what is to be written.
        guide: keeps the answer in its form.
        reply: the session's reply so far.
        model: the model.
        at_once: whether the answer is asked for before the reasoning has ended.

    Raises:
        AnswerFormError: the answer has begun, and a chat can but give all of it.

    """
    tokens = guide.answer_tokens(reply)
    if tokens is None and not at_once:
        # The request ends with the reasoning, so that the answer is one request.
        ends = () if guide.reasoning_end is None else (guide.reasoning_end,)
        return replace(order, stop_tokens=order.stop_tokens.union(ends))
    codec = model.codec
    begun = codec.decode(reply[len(reply) - tokens :]).strip() if tokens else ""
    if begun and begun != codec.reply_format.answer_start.strip():
        raise AnswerFormError(
            f"{model.name} gives typed answers as a whole, in a chat, and this one has begun"
        )
    return replace(order, form=guide.form, grammar=guide.grammar)


def up_to_answer(guide: Guide, reply: Sequence[int], written: Written, model: Service) -> Written:
    """Return what a chat wrote freely, up to the end of its reasoning.

    Raises UnmarkedReplyError where the reply ends before that.
    """
    tokens = written.token_ids
    if guide.reasoning_end is None:
        for count in range(1, len(tokens) + 1):
            if guide.answer_tokens([*reply, *tokens[:count]]) is not None:
                return Written(tokens[:count], End.LENGTH)
    if written.end is End.STOP_TOKEN and written.stop_token != guide.reasoning_end:
        raise UnmarkedReplyError(f"{model.name} {ended_in_reasoning(model.codec)}")
    return written


class TypedAnswer:
    """One answer that was asked for in a form.

    Args:
        served: the model.
        wanted: what was asked for.
        inline: separates the thoughts within the text.
        begun: what the answer may repeat of the reply so far.
        thoughts: reads the model's thoughts where they are the reply's reasoning; None where they
            are dropped.

    """

    def __init__(
        self,
        served: Served,
        wanted: Continuation,
        *,
        inline: InlineThoughts,
        begun: str = "",
        thoughts: ChatAnswer | None = None,
    ) -> None:
        form, guide = wanted.order.form, wanted.order.guide
        assert form is not None, "it is asked for in a form"
        assert guide is not None, "what has a form is held to it"
        self._codec, self._family = served.codec, served.codec.reply_format
        self._form: AnswerForm = form
        self._guide: Guide = guide
        self._end_tokens = wanted.order.stop_tokens & served.codec.end_tokens
        self._reply = list(wanted.written)
        self._inline, self._begun, self._thoughts = inline, begun, thoughts
        self._called = CalledTools(self._family)
        self._whole = self._said = ""

    def take(self, part: Part) -> Written:
        """Return what a part adds: the answer comes with the last one; raise UnreadableError."""
        heard = heard_in(self._inline, part)
        self._called.add(part.calls)
        self._said += heard.said
        self._whole += part.text
        thought = self._thought(part.thought + heard.thought)
        if part.finish is None:
            return Written(thought)
        if part.finish == "length":
            raise MisfitError(
                "its typed answer is cut off by a cap on its length: allow more tokens",
                lasting=True,
            )
        rest = () if self._thoughts is None else self._thoughts.rest()
        self._reply += rest
        answer, end = self._answer()
        return Written((*thought, *rest, *answer), End.STOP_TOKEN, end)

    def rest(self) -> tuple[int, ...]:
        """Return tokens of thoughts that waited for more, when no more comes."""
        return () if self._thoughts is None else self._thoughts.rest()

    def _thought(self, text: str) -> tuple[int, ...]:
        if self._thoughts is None or not text:
            return ()
        ids = self._thoughts.take(Part(thought=text)).token_ids
        self._reply += ids
        return ids

    def _answer(self) -> tuple[list[int], int | None]:
        """Return the tokens of the answer, and what ends it; raise MisfitError."""
        # What looks like a thought may be a text in the answer.
        texts = dict.fromkeys(map(self._bare, (self._whole, self._said)))
        end = min(self._end_tokens, default=None)
        ends = [] if end is None else [end]
        for parts in [one for said in texts for one in self._readings(said)]:
            ids = token_ids(self._codec, [*self._leading(), *parts])
            if self._guide.accepted(self._reply, [*ids, *ends]) == len(ids) + len(ends):
                return ids, end
        raise MisfitError(f"gives no answer in the form that was asked for: {self._said[:60]!r}")

    def _bare(self, text: str) -> str:
        """Return a text without what it repeats, and without what ends it where that is shown."""
        text = text.removeprefix(self._begun).strip()
        for token in self._end_tokens:
            text = text.removesuffix(self._codec.decode([token])).rstrip()
        return text

    def _readings(self, said: str) -> Sequence[Parts]:
        """Return what a text, and the calls beside it, may mean in the form that was asked for."""
        tries: list[Callable[[], Parts]] = []
        if self._form.schema is None:
            if (call := self._called.first()) is not None:
                tries.append(lambda: written_call(*call, self._form.tools, self._family))
            # A server that reads no calls sends one as the model wrote it.
            tries.append(lambda: [(said, True)])
        else:
            schema = self._form.schema
            tries.append(lambda: written_answer(said, schema))
        readings = []
        for one in tries:
            try:
                readings.append(one())
            except ValueError:
                continue
        return readings

    def _leading(self) -> Parts:
        """Return what goes before the answer."""
        tokens = self._guide.answer_tokens(self._reply)
        behind = None
        if tokens is not None:
            behind = self._codec.decode(self._reply[len(self._reply) - tokens :])
        return leading(self._family, self._form, behind)

"""Answers of a chat, as text."""

from collections.abc import Mapping
from typing import Any

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.openai_server.called import CalledTools, calls_in
from splitreason_integrations.backends.openai_server.dialects import Served
from splitreason_integrations.backends.openai_server.spelling import Controls
from splitreason_integrations.backends.openai_server.text import TextAnswer
from splitreason_integrations.backends.openai_server.wire import (
    REFUSED,
    Part,
    UnreadableError,
    finish_of,
    first_choice,
    usage_of,
)
from splitreason_integrations.text.inline_thoughts import Heard, InlineThoughts

_ECHO_CHARACTERS = 4
_THOUGHTS = ("reasoning_content", "reasoning")
_THINKING = ("thinking", "reasoning")
_MOST_THOUGHT = 1 << 18


def read_chat(data: Any) -> Part:
    """Return an event's data as a Part; raise UnreadableError if the data are not valid."""
    choice = first_choice(data)
    if choice is None:
        return Part(usage=usage_of(data))
    # A server that does not stream sends the whole message.
    delta = choice.get("delta") or choice.get("message")
    delta = delta if isinstance(delta, Mapping) else {}
    text, thought = _text_of(delta.get("content"))
    thought = next((delta[name] for name in _THOUGHTS if delta.get(name)), thought)
    if not isinstance(thought, str):
        raise UnreadableError("an event's text is of another type")
    finish, reason = finish_of(choice)
    if delta.get("refusal"):
        finish, reason = REFUSED, "refusal"
    return Part(
        text=text,
        finish=finish,
        reason=reason,
        thought=thought,
        usage=usage_of(data),
        calls=calls_in(delta),
    )


def _text_of(content: Any) -> tuple[str, str]:
    """Return the text of a content and the reasoning in it; some servers send it in parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text = thought = ""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            text += part
        elif not isinstance(part, Mapping):
            raise UnreadableError("an event's text is of another type")
        elif part.get("type") in _THINKING:
            thought += _plain(part.get("thinking") or part.get("text"))
        else:
            # Others than text, such as references, add nothing to it.
            text += _plain(part.get("text"))
    return text, thought


def _plain(value: Any) -> str:
    """Return a part's text, which may itself be in parts."""
    if isinstance(value, list):
        value = "".join(_plain(one.get("text")) for one in value if isinstance(one, Mapping))
    return value if isinstance(value, str) else ""


class ChatAnswer(TextAnswer):
    """An answer in a chat. Reasoning that comes by itself goes before the rest of the text.

    `opened` says that the reply has begun, with its reasoning if it has any; `thinks` that nothing
    but the beginning of the reasoning is there yet. With `inline`, thoughts within the text of a
    whole reply are its reasoning, too.
    """

    def __init__(
        self,
        served: Served,
        order: WriteOrder,
        controls: Controls,
        *,
        begun: str = "",
        opened: bool = False,
        thinks: bool = False,
        inline: InlineThoughts | None = None,
    ) -> None:
        super().__init__(served.codec, order, controls.of(order))
        self._form = served.codec.reply_format
        self._called = CalledTools(self._form)
        self._thinks = thinks
        self._opened = opened or thinks
        self._inline = inline
        self._begun = begun
        self._maybe_echo = begun if len(begun) >= _ECHO_CHARACTERS else ""
        self._first = ""

    def _said(self, part: Part) -> str:
        text, said = "", part.text
        thought = part.thought
        if self._inline is not None:
            heard = heard_in(self._inline, part)
            thought, said = part.thought + heard.thought, heard.said
        if thought:
            text = ("" if self._opened else f"{self._form.begin_of_reasoning}\n") + thought
            self._thinks = self._opened = True
        self._called.add(part.calls)
        if part.finish == "stop":
            said += self._called.take()
        if said:
            text += (self._border(said) if self._thinks else "") + said
            self._thinks = False
        return self._without_echo(text, ends=part.finish is not None)

    def _border(self, said: str) -> str:
        """Return what separates the reasoning from what is said."""
        form = self._form
        behind = form.answer_start or form.after_reasoning
        return form.end_of_reasoning + ("" if behind.isspace() and said[0] == "\n" else behind)

    def _without_echo(self, text: str, *, ends: bool) -> str:
        """Return what is new; what may be an echo waits."""
        if not self._maybe_echo:
            return text
        self._first += text
        if self._maybe_echo.startswith(self._first) and self._first != self._maybe_echo:
            if not ends:
                return ""
            said = self._first
        else:
            said = self._first.removeprefix(self._maybe_echo)
        self._maybe_echo = self._first = ""
        return said


class StepAnswer(TextAnswer):
    """The next step. What a model reasons to itself is the step only where it says nothing else."""

    def __init__(
        self,
        served: Served,
        order: WriteOrder,
        controls: Controls,
        *,
        inline: InlineThoughts,
        begun: str = "",
    ) -> None:
        gap = " " if begun and not begun[-1].isspace() else ""
        super().__init__(served.codec, order, controls.of(order), gap=gap)
        self._inline = inline
        self._called = CalledTools(served.codec.reply_format)
        self._thought = ""
        self._says = False

    def _said(self, part: Part) -> str:
        heard = heard_in(self._inline, part)
        if not self._says and len(self._thought) < _MOST_THOUGHT:
            self._thought += part.thought + heard.thought
        text = heard.said
        self._called.add(part.calls)
        if part.finish is not None and self._called and not (self._says or text):
            raise UnreadableError("calls a tool where the next step was asked for", lasting=True)
        if not text and part.finish == "stop" and not self._says:
            text = self._thought
        self._says = self._says or bool(text)
        return text


def heard_in(inline: InlineThoughts, part: Part) -> Heard:
    """Return the thoughts in a part's text, and the rest; the last part has what waited."""
    if part.thought:
        inline.separated()
    heard = inline.feed(part.text)
    if part.finish is not None:
        rest = inline.finish(whole=part.finish != "length")
        heard = Heard(heard.thought + rest.thought, heard.said + rest.said)
    return heard

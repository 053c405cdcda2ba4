"""`/chat/completions`: continues the assistant's message, or asks for the next step.

Providers differ in how a request marks the last message as the beginning of a reply: `marks.py`.
If a provider has no way, a large model is asked in a message for the next step alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from splitreason_integrations.backends.base import Gives, WriteOrder
from splitreason_integrations.backends.openai_server.chat_answer import (
    ChatAnswer,
    StepAnswer,
    read_chat,
)
from splitreason_integrations.backends.openai_server.chat_messages import (
    opens_reasoning,
    said_of,
    sent,
)
from splitreason_integrations.backends.openai_server.continuing import (
    Reasonings,
    ThoughtForm,
    prefill_is_refused,
)
from splitreason_integrations.backends.openai_server.dialects import (
    Answer,
    Continuation,
    Lenient,
    Served,
)
from splitreason_integrations.backends.openai_server.ids import never, sampled
from splitreason_integrations.backends.openai_server.marks import MARKS, PLAIN, Mark
from splitreason_integrations.backends.openai_server.refusals import NOT_UNDERSTOOD
from splitreason_integrations.backends.openai_server.spelling import (
    Controls,
    harmless,
    spelled,
)
from splitreason_integrations.backends.openai_server.thinking import thinking_parameters
from splitreason_integrations.backends.openai_server.typed import TypedAnswer, asked_as
from splitreason_integrations.backends.openai_server.wire import Question
from splitreason_integrations.backends.scores import Asked
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.protocols import Conversation, Prompt
from splitreason_integrations.text.inline_thoughts import Habit, InlineThoughts
from splitreason_integrations.text.prompts import ask_for_answer, ask_next_step, opening_of
from splitreason_integrations.text.tool_prompts import with_tools

_AHEAD_TOKENS = 256
_STEP_TOKENS = 4096
_TEMPLATE_TOKENS = 32
_TEMPLATE_PART = 16
_OTHER_TOKENIZER_PART = 4
"""By what part of a text's tokens another template, or another tokenizer, may lengthen it."""
_ABOUT_STRICT = re.compile(r"\bstrict\b|invalid schema|schema .{0,80}(required|supplied)", re.I)
"""How servers refuse a schema that is none of their strict ones."""
_NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class Chat(Lenient):
    """Continues the assistant's partial message.

    Attributes:
        forms: in which forms the server is known to give whole answers.
        takes_grammars: whether a grammar is sent for them, as vLLM takes it.

    """

    ahead_tokens = _AHEAD_TOKENS

    def __init__(self, served: Served, name: str) -> None:
        self.name = name
        self._served = served
        self._mark = MARKS.get(name, Mark())
        if self._mark.is_own:
            self.ahead_tokens = 0
        self._form: ThoughtForm | None = ThoughtForm()
        self._reasonings = Reasonings(sent=self._mark.is_own)
        self._shows_tools = True
        self._steps: PlainChat | None = None
        self._is_refused = False
        self._strict = True
        self.forms = Gives.NOTHING
        self.takes_grammars = False
        self._habit = Habit()

    def check(self, order: WriteOrder) -> None:
        """Raise RequestError for an order with a watch, which only small models get."""
        if order.watch is not None:
            raise self._gives_no_probabilities()

    def question(self, wanted: Continuation) -> Question:
        """Return the question that asks for a continuation."""
        if (steps := self._asking_for_steps(wanted)) is not None:
            return steps.question(wanted)
        last, more = self._last(wanted)
        body = {
            "model": self._served.model,
            "messages": [*self._said(wanted), *last],
            "max_tokens": wanted.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._drawn(wanted),
            **self._tools(said_of(wanted.prompt)),
            **self._thinking(wanted.prompt),
            **self._typed(wanted.order),
        }
        if last:
            body |= {**self._mark.body, **more}
        tokens = len(wanted.prompt) + len(wanted.written)
        return Question("/chat/completions", body, read_chat, tokens, wanted.max_tokens)

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        if (steps := self._asking_for_steps(wanted)) is not None:
            return steps.answer(wanted)
        begun = self._begun(wanted)
        if wanted.order.form is not None:
            inline = InlineThoughts(self._habit)
            return TypedAnswer(self._served, wanted, inline=inline, begun=begun)
        echo = begun if self._mark.may_echo else ""
        order, opened = wanted.order, bool(begun.strip())
        return ChatAnswer(self._served, order, self._controls, begun=echo, opened=opened)

    def scoring(
        self, prompts: Sequence[Sequence[int]], asked: Asked, forbidden: Sequence[int]
    ) -> Question:
        """Raise RequestError: what reads along needs another kind of server."""
        raise self._gives_no_probabilities()

    def added_tokens(self, tokens: int) -> int:
        """Return how many more tokens the server's template, or its tokenizer, may make."""
        if self._steps is not None:
            return self._steps.added_tokens(tokens)
        part = _TEMPLATE_PART if self._served.own else _OTHER_TOKENIZER_PART
        return _TEMPLATE_TOKENS + tokens // part

    def takes_thoughts(self, form: ThoughtForm | None) -> None:
        """Send open thoughts in a form from now on; with None ask for their next step instead."""
        self._form = form
        if form is None:
            self._ask_for_steps()

    def drops_tools(self) -> None:
        """Describe tools in the messages from now on: the server does not show them."""
        self._shows_tools = False

    def answers_at_once(self, written: Sequence[int]) -> bool:
        """Return whether an answer in a form is asked for while the reply still reasons.

        Whoever cannot continue the reply thinks to itself, and would do so a second time.
        """
        return self._is_refused or (self._steps is not None and bool(written))

    def adapts(self, error: ModelCallError) -> bool:
        """Return whether a refusal asks for another way of asking, which is taken from now on."""
        if error.retryable or error.status not in NOT_UNDERSTOOD:
            return False
        if self._reasonings.learns(error.said):
            return True
        if self._strict and _ABOUT_STRICT.search(error.said):
            self._strict = False
            return True
        if self.name == PLAIN or self._is_refused or not prefill_is_refused(error.said):
            return False
        self._is_refused = True
        self._ask_for_steps()
        return True

    def _ask_for_steps(self) -> None:
        self._steps, self.ahead_tokens = PlainChat(self._served), _STEP_TOKENS

    def _asking_for_steps(self, wanted: Continuation) -> "PlainChat | None":
        """Return what asks for the next step, where the reply so far cannot be continued."""
        if self._steps is None or not (self._is_refused or self._open_thought(wanted)):
            return None
        self._steps._reasonings, self._steps._shows_tools = self._reasonings, self._shows_tools
        return self._steps

    def _last(self, wanted: Continuation) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
        """Return the message to continue, if any, and the fields that it needs."""
        begun, thought = self._begun(wanted), self._open_thought(wanted)
        said: Mapping[str, Any] = {"content": begun}
        more: Mapping[str, Any] = {}
        if self._mark.is_own and thought is not None and self._form is not None:
            said, more = self._form.message(*thought), self._form.body
        if not any(said.values()):
            return [], {}
        return [{"role": "assistant", **said, **self._mark.message}], more

    def _open_thought(self, wanted: Continuation) -> tuple[str, str] | None:
        """Return what opens the thought of the reply so far, and the thought; None without one."""
        form, begun = self._served.codec.reply_format, self._begun(wanted)
        opening = opening_of(wanted.prompt) if isinstance(wanted.prompt, Prompt) else ""
        if not opening and begun.startswith(form.begin_of_reasoning):
            opening = form.begin_of_reasoning
        if not opening or form.end_of_reasoning in begun:
            return None
        return opening, begun.removeprefix(opening)

    def _said(self, wanted: Continuation) -> list[dict[str, Any]]:
        said = said_of(wanted.prompt)
        messages = self._reasonings.fitted(self._plain(said.messages))
        if said.tools and not (self._shows_tools or self._is_shown(wanted)):
            shown = with_tools(messages, self._plain(said.tools), self._served.codec.reply_format)
            messages = [dict(message) for message in shown]
        return [sent(message) for message in messages]

    def _is_shown(self, wanted: Continuation) -> bool:
        """Return whether a call is required, so that the server shows the tools itself."""
        form = wanted.order.form
        return form is not None and form.schema is None and not self.takes_grammars

    def _begun(self, wanted: Continuation) -> str:
        """Return the reply so far."""
        opening = opening_of(wanted.prompt) if isinstance(wanted.prompt, Prompt) else ""
        return opening + spelled(self._served.codec, wanted.written)

    @property
    def may_take_grammars(self) -> bool:
        """Whether it may be vLLM, and the grammar has the ids of its own tokens."""
        return self._mark.is_own and self._served.own

    def _typed(self, order: WriteOrder) -> dict[str, Any]:
        """Return what asks for an answer in a form."""
        form = order.form
        if form is None:
            return {}
        if self.takes_grammars:
            return {"structured_outputs": {"grammar": order.grammar}}
        tools = tuple(self._plain(form.tools))
        return asked_as(replace(form, tools=tools), strict=self._strict)

    def _tools(self, said: Conversation) -> dict[str, Any]:
        """Return the tools, which the model may call in the text of its reply."""
        if not (said.tools and self._shows_tools):
            return {}
        return {"tools": self._plain(said.tools), "tool_choice": "none"}

    def _thinking(self, prompt: Sequence[int]) -> dict[str, Any]:
        """Return what switches thoughts: of the reply that is continued, else of the model."""
        said = said_of(prompt)
        thinking = said.thinking
        if self._mark.is_own and isinstance(prompt, Prompt):
            thinking = prompt.thinks
        return thinking_parameters(self._served.host, thinking, said.variables)

    def _plain(self, value: Any) -> Any:
        return harmless(value, self._served.codec.plain) if self._served.own else value

    def _drawn(self, wanted: Continuation) -> dict[str, Any]:
        drawn = sampled(wanted.order, len(wanted.written))
        if self._mark.is_own:
            # Another tokenizer's ids are other tokens of the model.
            return drawn | (never(wanted.order.forbidden) if self._served.own else {})
        # Providers refuse parameters that they do not know, so neutral ones are left out.
        return {name: value for name, value in drawn.items() if value != _NEUTRAL.get(name)}

    @cached_property
    def _controls(self) -> Controls:
        return Controls(self._served.codec)

    def _gives_no_probabilities(self) -> RequestError:
        return RequestError(
            f"{self._served.model}: a server that only chats gives no probabilities, which a "
            "small model needs for handoffs and for reading along; use one whose /completions "
            "takes a text, such as vLLM or llama.cpp, or a small model in this process"
        )


class PlainChat(Chat):
    """The last resort: a large model is asked for the next step of the reasoning so far."""

    ahead_tokens = _STEP_TOKENS

    def __init__(self, served: Served) -> None:
        super().__init__(served, PLAIN)

    def answers_at_once(self, written: Sequence[int]) -> bool:
        """Return True: the reasoning is the model's own."""
        return True

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        begun, inline = spelled(self._served.codec, wanted.written), InlineThoughts(self._habit)
        served, order, controls = self._served, wanted.order, self._controls
        if order.form is not None:
            return TypedAnswer(served, wanted, inline=inline, thoughts=self._thoughts(wanted))
        if begun.strip():
            return StepAnswer(served, order, controls, begun=begun, inline=inline)
        # There is no reply yet: this is the whole of it.
        return ChatAnswer(
            served, order, controls, thinks=opens_reasoning(wanted.prompt), inline=inline
        )

    def _thoughts(self, wanted: Continuation) -> ChatAnswer | None:
        """Return what reads thoughts that are the reply's reasoning; None where it has its own."""
        if wanted.written or not opens_reasoning(wanted.prompt):
            return None
        return ChatAnswer(self._served, wanted.order, self._controls, thinks=True)

    def added_tokens(self, tokens: int) -> int:
        """Return how many tokens ask for the next step, beside those of every chat."""
        return super().added_tokens(tokens + self._step_tokens) + self._step_tokens

    @cached_property
    def _step_tokens(self) -> int:
        nothing: list[dict[str, Any]] = [{"role": "user", "content": ""}]
        asking = [str(ask(nothing, "")[0]["content"]) for ask in (ask_next_step, ask_for_answer)]
        return max(len(self._served.codec.encode(one)) for one in asking)

    def _said(self, wanted: Continuation) -> list[dict[str, Any]]:
        begun = spelled(self._served.codec, wanted.written)
        messages = super()._said(wanted)
        if wanted.order.form is not None:
            form = self._served.codec.reply_format
            begun = begun.partition(form.end_of_reasoning)[0].removeprefix(form.begin_of_reasoning)
            return ask_for_answer(messages, begun) if begun.strip() else messages
        return ask_next_step(messages, begun) if begun.strip() else messages

    def _begun(self, wanted: Continuation) -> str:
        return ""

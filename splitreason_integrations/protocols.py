"""What text, privacy and models agree on: codecs, prompts, reply formats, grammars.

Protocols and frozen values alone; every room that reads or writes tokens builds on them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, overload

from splitreason_integrations.records import Message

if TYPE_CHECKING:
    from torch import Tensor

Fields = Mapping[str, Mapping[str, Any]]
CONTROL = re.compile(r"(<[^<>\s]+>|\[/?[A-Z_]+\])")
"""How families spell their control tokens; splitting by it gives text and tokens in turn."""

_PLACE = re.compile(r"\{(\w+)\}")
_HEADER = r"\A(?:(?!<think>|\[THINK\]).)*+"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFormat:
    """One family's way of writing.

    Attributes:
        name: of the family.
        signs: any of these in a chat template, or as a control token, tells the family.
        fields: the regions of a reply, as transformers' response templates describe them; a region
            of calls may also have a `markup`, a `Markup` by which it is read.
        lacks: what no chat template of the family has in it, where another family has it.
        call: one tool call, with `{name}` and `{arguments}` to fill in.
        argument: one argument of a call, with `{key}` and `{value}` to fill in, and `{string}` for
            whether the value is text; empty where all arguments are one JSON object.
        call_id: an id of a call by which the family's chat templates name the tool, with `{name}`
            and `{number}` to fill in; empty where any id will do.
        begin_of_reasoning: what opens the reasoning.
        end_of_reasoning: what separates the reasoning from the answer or the call.
        after_reasoning: what the model writes behind that, where nothing opens the answer.
        answer_start: what opens the answer after it.
        reasons: whether the model is known to reason, by its chat template or its tokens.
        always_reasons: whether a reply begins with reasoning although no header opens it.
        schema_prompt: what shows the model the JSON schema that its answer has to fit, with
            `{schema}` to fill in; empty for models that are shown none.

    """

    name: str
    signs: tuple[str, ...] = ()
    fields: Fields
    lacks: tuple[str, ...] = ()
    call: str
    argument: str = ""
    call_id: str = ""
    begin_of_reasoning: str = "<think>"
    end_of_reasoning: str = "</think>"
    after_reasoning: str = "\n\n"
    answer_start: str = ""
    reasons: bool = True
    always_reasons: bool = False
    schema_prompt: str = "Answer with JSON that fits this schema: {schema}"

    @property
    def response_template(self) -> dict[str, Any]:
        """The format as transformers' ResponseParser takes it."""
        # Of the header that opens a reply, only reasoning that it begins is of interest.
        return {"start_anchor_pattern": _HEADER, "fields": self.fields}

    def write_call(self, name: str, arguments: str) -> str:
        """Return one tool call as the family writes it; `arguments` is JSON."""
        return "".join(text for text, _ in self.call_parts(name, arguments))

    def write_id(self, name: str, number: int) -> str:
        """Return the id of a call, the `number`th of a conversation, as the family writes it."""
        return self.call_id.replace("{number}", str(number)).replace("{name}", name)

    def ask_for(self, schema: Mapping[str, Any] | None) -> str | None:
        """Return what asks for an answer that fits a JSON schema; None where nothing does."""
        if schema is None or not self.schema_prompt:
            return None
        return self.schema_prompt.replace("{schema}", json.dumps(schema, ensure_ascii=False))

    def call_parts(self, name: str, arguments: str) -> Iterator[tuple[str, bool]]:
        """Yield the parts of one tool call, and of each whether the family's own tokens spell it.

        What a name or the arguments spell stays text.
        """
        if not self.argument:
            yield from _parts(self.call, name=name, arguments=arguments)
            return
        before, after = self.call.split("{arguments}")
        yield from _parts(before, name=name)
        for key, value in json.loads(arguments).items():
            if isinstance(value, str):
                yield from _parts(self.argument, key=key, value=value, string="true")
            else:
                written = json.dumps(value, ensure_ascii=False)
                yield from _parts(self.argument, key=key, value=written, string="false")
        yield from _parts(after)


def _parts(template: str, **values: str) -> Iterator[tuple[str, bool]]:
    for at, part in enumerate(CONTROL.split(template)):
        yield _PLACE.sub(lambda place: values.get(place[1], place[0]), part), at % 2 == 1


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer has to be.

    Attributes:
        schema: the JSON schema that it fits; None for a call.
        tools: the tools of which it is a call; with a schema, of which it may be one instead.

    """

    schema: Mapping[str, Any] | None = None
    tools: tuple[Message, ...] = ()


class Guide(Protocol):
    """Says which tokens may come next, given the session's reply so far.

    Attributes:
        form: what the answer has to be, for servers that are asked for all of it.
        grammar: of the whole answer, in Lark's notation, for engines that hold an answer to one
            by themselves.
        between: control tokens that may come anywhere in the answer and are not of the grammar.
        reasoning_end: the control token that ends the reasoning; None where text does.

    """

    form: AnswerForm
    grammar: str
    between: tuple[int, ...]
    reasoning_end: int | None

    def restrict(self, logits: "Tensor", reply: Sequence[int]) -> "Tensor":
        """Return the logits (vocabulary); tokens that may not follow `reply` are minus infinity."""
        ...

    def answer_tokens(self, reply: Sequence[int]) -> int | None:
        """Return how many tokens of the answer a reply has; None while it reasons."""
        ...

    def accepted(self, reply: Sequence[int], token_ids: Sequence[int]) -> int:
        """Return how many of some tokens may follow a reply, one behind the other."""
        ...

    def allowed(self, reply: Sequence[int]) -> list[int]:
        """Return the tokens that may follow a reply."""
        ...


class TextStream(Protocol):
    """Turns ids into text as they come, holding back incomplete characters."""

    @property
    def complete(self) -> bool:
        """Whether no character is held back."""
        ...

    def push(self, token_id: int) -> str:
        """Return the text that this token completes; may be empty."""
        ...

    def flush(self) -> str:
        """Return what is held back, with U+FFFD for broken characters."""
        ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said so far, before any template, and the tools that are offered.

    `thinking` is whether the model is to think, None for its own way; `variables` are those of its
    chat template.
    """

    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()
    thinking: bool | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt(Sequence[int]):
    """A conversation as one model reads it: a sequence of token ids.

    `header` is the text that opens the reply, `said` what the ids were made of, for models that
    are sent messages. `thinks` is what the prompt was asked for: a thought, none, or neither.
    """

    token_ids: tuple[int, ...]
    header: str
    said: Conversation | None = field(default=None, compare=False, repr=False)
    thinks: bool | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.token_ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.token_ids)

    @overload
    def __getitem__(self, at: int) -> int: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[int, ...]: ...

    def __getitem__(self, at: int | slice) -> int | tuple[int, ...]:
        return self.token_ids[at]


class Codec(Protocol):
    """Text to token ids and back, and the chat template."""

    @property
    def fingerprint(self) -> str:
        """A digest of the vocabulary: two codecs with the same one share their ids."""
        ...

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end a turn."""
        ...

    @property
    def begin_token(self) -> int | None:
        """The id that begins every text of the model; None if there is none."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return ids of plain text; never a control token, whatever the text spells."""
        ...

    def plain(self, text: str) -> str:
        """Return the text with a space inside whatever spells a control token."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, control tokens included."""
        ...

    def control_token(self, text: str) -> int | None:
        """Return the id of the control token that is written like this, if there is one."""
        ...

    def is_control(self, token_id: int) -> bool:
        """Return whether an id is a control token."""
        ...

    def text_stream(self, *, after: Sequence[int] = ()) -> TextStream:
        """Return a new incremental decoder of tokens that follow `after`."""
        ...

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        *,
        thinking: bool | None = None,
        context_tokens: int | None = None,
    ) -> Prompt:
        """Return the conversation up to and including the assistant's header.

        `thinking` says whether the model is to think; None leaves it to the model's own settings.
        With `context_tokens` a conversation that cannot fit may be refused by ContextOverflowError
        before it is tokenised.
        """
        ...

    @property
    def reply_format(self) -> ReplyFormat:
        """How the model's family writes reasoning, answers and tool calls."""
        ...

    @property
    def response_template(self) -> Mapping[str, Any]:
        """The regions of a reply, as transformers' ResponseParser takes them."""
        ...

    @property
    def grammar_tokenizer(self) -> Any:
        """The vocabulary as llguidance takes it."""
        ...

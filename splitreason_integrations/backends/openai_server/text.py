"""Text both ways: an answer's text becomes token ids as it arrives.

Tokens are never encoded again. The last ones of a text wait until what follows cannot change them;
when an answer ends or breaks off, they are final.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.backends.openai_server.dialects import (
    Answer,
    Continuation,
    Lenient,
    Served,
    received,
)
from splitreason_integrations.backends.openai_server.gbnf import gbnf_of
from splitreason_integrations.backends.openai_server.ids import TOP, never, sampled
from splitreason_integrations.backends.openai_server.literals import literal_grammar
from splitreason_integrations.backends.openai_server.named_tokens import (
    MOST_HIDDEN,
    NamedTokens,
    read_allowed,
    unstreamed,
)
from splitreason_integrations.backends.openai_server.spelling import Controls, spelled
from splitreason_integrations.backends.openai_server.wire import (
    Part,
    Question,
    UnreadableError,
    read_part,
)
from splitreason_integrations.backends.scores import LIKELIEST, Asked, asked_by
from splitreason_integrations.errors import RequestError
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.joiner import Joiner, whole_ends
from splitreason_integrations.text.tags import partial_tag

_WAITING_TOKENS = 8
"""How many of the last tokens may still become others: more than those of most words."""
_MOST_FAVOURED = 4096
_SURELY = 100
"""What is added to the logits of the only tokens that may come; among them nothing changes."""
_WHOLE = " a"
BEGINNING_TOKENS = 2
"""By how many tokens a prompt may differ: what begins every text of a model."""
_BROKEN = "\ufffd"
_CONTEXT_TOKENS = 6
"""More than a character has."""


class TextTokens:
    """Encodes a text that comes in pieces. `controls` are the control tokens that it may spell.

    `gap` separates the text from the reply before it, unless it begins with a space or a control
    token: a space before that would be one that nobody wrote.
    """

    def __init__(self, codec: Codec, controls: Mapping[str, int], *, gap: str = "") -> None:
        self._joiner = Joiner(codec)
        self._controls = controls
        self._names = tuple(controls)
        self._gap = gap
        self._held = ""

    def push(self, text: str) -> list[int]:
        """Return the tokens that are sure by now; raise UnreadableError."""
        self._held += text
        self._set_apart()
        ids: list[int] = []
        while (found := self._spelled()) is not None:
            at, name = found
            ids += self._final(self._joiner.encode(self._held[:at]), self._held[:at])
            ids += self._final([self._controls[name]], name)
            self._held = self._held[at + len(name) :]
            self._set_apart()
        return ids + self._sure(len(self._held) - partial_tag(self._held, self._names))

    def flush(self, *, cut_off: bool = False) -> list[int]:
        """Return the tokens of all that waits.

        Where it was cut off, half a character or half a control token at its end is left out.
        """
        if cut_off:
            self._held = self._held[: len(self._held) - partial_tag(self._held, self._names)]
        self._set_apart(ends=True)
        text, self._held = self._held, ""
        if cut_off:
            text = text.rstrip(_BROKEN) or text
        return self._final(self._joiner.encode(text), text)

    def _set_apart(self, *, ends: bool = False) -> None:
        """Put the gap before the first text; what may yet become a control token waits."""
        held = self._held
        is_control = held.startswith(self._names)
        if not held or is_control or (not ends and partial_tag(held, self._names) == len(held)):
            return
        self._held = held if held[0].isspace() else self._gap + held
        self._gap = ""

    def _spelled(self) -> tuple[int, str] | None:
        """Return where the first control token is spelled, and which one."""
        found = [(self._held.find(name), name) for name in self._names]
        return min((one for one in found if one[0] >= 0), default=None)

    def _sure(self, length: int) -> list[int]:
        ids = self._joiner.encode(self._held[:length])
        most = len(ids) - _WAITING_TOKENS
        if most <= 0:
            return []
        ends = whole_ends(self._joiner.stream(), ids)
        cuts = [(offset, count) for offset, count in ends.items() if count <= most]
        if not cuts:
            return []
        offset, count = max(cuts)
        text, self._held = self._held[:offset], self._held[offset:]
        return self._final(ids[:count], text)

    def _final(self, ids: list[int], text: str) -> list[int]:
        if not self._joiner.joins(ids, text):
            raise UnreadableError(
                "its tokenizer cannot encode its text; set tokenizer to the "
                "one that the server's model has",
                lasting=True,
            )
        self._joiner.advance(ids)
        return ids


class TextAnswer:
    """An answer that is text. Stop tokens are found in it, where the server shows them.

    No stop strings are sent: few servers say at which one they stopped. A forbidden control token
    that comes all the same is left out.
    """

    def __init__(
        self, codec: Codec, order: WriteOrder, controls: Mapping[str, int], *, gap: str = ""
    ) -> None:
        self._codec = codec
        self._order = order
        self._tokens = TextTokens(codec, controls, gap=gap)
        self._unwanted = frozenset(t for t in order.forbidden if codec.is_control(t))
        self._has_said = False

    def take(self, part: Part) -> Written:
        """Return what a part adds; raise UnreadableError if it is not what was asked for."""
        text = self._said(part)
        self._has_said = self._has_said or bool(text)
        ids = self._tokens.push(text)
        if part.finish is not None:
            ids += self._tokens.flush(cut_off=part.finish == "length")
        if part.finish == "length" and not self._has_said:
            raise UnreadableError(
                "ended by its length before it wrote anything; a model with hidden reasoning needs "
                "more tokens, or less reasoning effort",
                lasting=True,
            )
        kept, stop_token = self._cut(ids)
        if stop_token is None and part.finish == "stop":
            stop_token = self._end_token(part)
        if stop_token is not None:
            return Written(kept, End.STOP_TOKEN, stop_token)
        return Written(kept, End.LENGTH if part.finish == "length" else None)

    def rest(self) -> tuple[int, ...]:
        """Return tokens that waited for more of the answer, when no more comes."""
        return self._cut(self._tokens.flush(cut_off=True))[0]

    def _said(self, part: Part) -> str:
        """Return the text that a part adds."""
        return part.text

    def _cut(self, ids: Sequence[int]) -> tuple[tuple[int, ...], int | None]:
        """Return the tokens before a stop token, and that."""
        at = next((at for at, one in enumerate(ids) if one in self._order.stop_tokens), None)
        kept = tuple(one for one in ids[:at] if one not in self._unwanted)
        return kept, None if at is None else ids[at]

    def _end_token(self, part: Part) -> int | None:
        named = part.stop_token
        if named in self._order.stop_tokens:
            return named
        return min(self._codec.end_tokens, default=None)


class Text(Lenient):
    """`/completions` with a text prompt, answered in text.

    Attributes:
        heeds_grammars: whether the server holds text to a grammar in llama.cpp's notation; None
            before it was tried.
        server_begins: whether the server itself puts before a prompt what begins every text.
        names_tokens: whether its log probabilities have ids; it is then sent ids for a text.
        lists_tokens: whether it lists the ids of an answer that is not streamed.

    """

    name = "text"
    ahead_tokens = 0

    def __init__(self, served: Served) -> None:
        self._served = served
        self.heeds_grammars: bool | None = None
        self.server_begins = False
        self.names_tokens = self.lists_tokens = False

    def check(self, order: WriteOrder) -> None:
        """Raise RequestError for an order that wants a form, or probabilities at every token."""
        if order.guide is not None and not self.heeds_grammars:
            raise RequestError(
                f"{self._served.model}: its server takes neither token ids nor grammars, so that "
                "it cannot hold an answer to a form; use 'hf:<folder>', 'vllm:<folder>', or a "
                "server of vLLM or llama.cpp"
            )
        if asked_by(order.watch) and not self.names_tokens:
            raise RequestError(
                f"{self._served.model}: this trigger needs probabilities at every token, which "
                "takes a server that gives token ids, such as vLLM or llama.cpp; use a trigger "
                "without them, such as tag, disagreement<0.1 or opening:64"
            )

    def question(self, wanted: Continuation) -> Question:
        """Return the question that asks for a continuation."""
        codec = self._served.codec
        body = {
            "model": self._served.model,
            "prompt": self._sent(wanted.prompt, wanted.written),
            "max_tokens": wanted.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "add_special_tokens": False,
            **SHOWS_TOKENS,
            **sampled(wanted.order, len(wanted.written)),
            **_in_llama_cpp(wanted.order.sampling),
            **never(wanted.order.forbidden),
            **self._held(wanted.order),
        }
        sequence, read = [*wanted.prompt, *wanted.written], read_part
        if self._names(wanted.order):
            body["logprobs"] = LIKELIEST if asked_by(wanted.order.watch) else 1
            read = NamedTokens(codec, sequence).read
        asked = Question("/completions", body, read, len(sequence), wanted.max_tokens)
        if not (self._names(wanted.order) and self.lists_tokens):
            return asked
        # Behind half a character a text does not say which tokens make the rest.
        is_within = codec.decode(sequence[-_CONTEXT_TOKENS:]).endswith(_BROKEN)
        return unstreamed(asked) if is_within or wanted.max_tokens <= MOST_HIDDEN else asked

    def _names(self, order: WriteOrder) -> bool:
        """Return whether the tokens of an answer are to be those that the server wrote."""
        return self.names_tokens and (order.guide is not None or bool(asked_by(order.watch)))

    def _held(self, order: WriteOrder) -> dict[str, Any]:
        codec, guide = self._served.codec, order.guide
        if self.names_tokens and 0 < len(order.only) <= _MOST_FAVOURED:
            bias = dict.fromkeys(map(str, order.only), _SURELY)
            return {"logit_bias": never(order.forbidden).get("logit_bias", {}) | bias}
        if order.grammar is not None and guide is not None:
            tags = [token for token in guide.between if token not in order.forbidden]
            grammar = gbnf_of(order.grammar, lambda token: codec.decode([token]), tags)
        else:
            # Of a control token, a model that writes text might write the beginning alone.
            plain = [token for token in order.only if not codec.is_control(token)]
            grammar = literal_grammar(codec, plain)
        return {} if grammar is None else {"grammar": grammar}

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        if self._names(wanted.order):
            return received(self._served, wanted)
        return TextAnswer(self._served.codec, wanted.order, self.controls.of(wanted.order))

    def scoring(
        self, prompts: Sequence[Sequence[int]], asked: Asked, forbidden: Sequence[int]
    ) -> Question:
        """Return what to ask for behind each sequence: 0 for all but the likeliest tokens."""
        body = {
            "model": self._served.model,
            "prompt": [self._sent(prompt) for prompt in prompts],
            "max_tokens": 1,
            "stream": True,
            "temperature": 0.0,
            "logprobs": LIKELIEST if asked.spread and self.names_tokens else TOP,
            "add_special_tokens": False,
            **SHOWS_TOKENS,
            **self._with_an_event(never(forbidden)),
        }
        return Question("/completions", body, read_part, len(prompts), 1)

    def scoring_allowed(
        self, prompts: Sequence[Sequence[int]], forbidden: Sequence[int]
    ) -> Question:
        """Return what to ask of a server that names tokens for those that may come.

        The token behind each sequence is drawn. Where it ends within a character, nothing is said.
        """
        body = {
            "model": self._served.model,
            "prompt": [self._sent(prompt) for prompt in prompts],
            "max_tokens": 1,
            "stream": True,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "logprobs": LIKELIEST,
            "post_sampling_probs": True,
            **never(forbidden),
        }
        return Question("/completions", body, read_allowed, len(prompts), 1)

    def _with_an_event(self, never_written: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters with a token to write that ends no half character.

        What a server says of a place does not depend on which token it writes there.
        """
        if not self.names_tokens:
            return dict(never_written)
        whole = self._served.codec.encode(_WHOLE)[-1]
        return {"logit_bias": never_written.get("logit_bias", {}) | {str(whole): _SURELY}}

    def added_tokens(self, tokens: int) -> int:
        """Return by how many tokens a server's own beginning may lengthen the prompt."""
        return BEGINNING_TOKENS

    def _sent(self, prompt: Sequence[int], written: Sequence[int] = ()) -> str | list[int]:
        """Return a sequence as ids, if the server takes them, or else as text.

        What begins a text is left to a server that adds it.
        """
        if self.names_tokens:
            return [*prompt, *written]
        codec = self._served.codec
        begins = self.server_begins and prompt[0] == codec.begin_token
        return spelled(codec, prompt[1:] if begins else prompt) + spelled(codec, written)

    @cached_property
    def controls(self) -> Controls:
        """The control tokens that an answer may spell."""
        return Controls(self._served.codec)


SHOWS_TOKENS = {"skip_special_tokens": False, "spaces_between_special_tokens": False}
"""What has vLLM and its kin show control tokens as they are written."""


def _in_llama_cpp(sampling: Sampling) -> dict[str, Any]:
    """Return the repetition penalty by llama.cpp's name, over the whole sequence."""
    penalty = sampling.penalties.get("repetition_penalty")
    return {} if penalty is None else {"repeat_penalty": penalty, "repeat_last_n": -1}

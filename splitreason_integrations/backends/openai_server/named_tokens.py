"""An answer of text whose log probabilities name the tokens by their ids, as llama.cpp's do.

There is no event for a token that ends within a character. Such tokens are found by encoding the
text of the event that comes next; what is said at them is not known, and `Part.top` has None there.
An answer of few tokens might have no event at all: it is asked for in llama.cpp's own form.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from splitreason_integrations.backends.openai_server.wire import (
    Part,
    Question,
    UnreadableError,
    first_choice,
    read_part,
)
from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.joiner import Joiner

MOST_HIDDEN = 3
"""How many tokens may end an answer without an event: those of a character but its last."""
_OWN_PATH = "/../completion"
"""llama.cpp's own path, which stands beside `/v1`."""
_FIELDS = ["content", "tokens", "stop_type", "completion_probabilities"]


def unstreamed(question: Question) -> Question:
    """Return a question in llama.cpp's own form: a short answer, with the ids of all tokens."""
    body = {name: value for name, value in question.body.items() if name != "stream_options"}
    body["max_tokens"] = min(question.max_tokens, MOST_HIDDEN)
    body |= {"stream": False, "return_tokens": True, "response_fields": _FIELDS}
    return replace(question, path=_OWN_PATH, body=body, read=read_unstreamed)


def read_unstreamed(data: Any) -> Part:
    """Return a whole answer in llama.cpp's own form as a Part; raise UnreadableError."""
    if not isinstance(data, Mapping) or not isinstance(data.get("tokens"), list):
        raise UnreadableError("an answer has no token ids", lasting=True)
    choice = {
        "text": data.get("content"),
        "token_ids": data["tokens"],
        "finish_reason": "length" if data.get("stop_type") == "limit" else "stop",
        "logprobs": {"content": data.get("completion_probabilities")},
    }
    part, tokens = read_part({"choices": [choice]}), data["tokens"]
    # A token that ends within a character has none, and which ones these are is not said.
    is_known = part.named == tuple(tokens)
    return replace(part, top=part.top if is_known else [None] * len(tokens))


def read_allowed(data: Any) -> Part:
    """Return an event with probabilities among the tokens that may come; raise UnreadableError."""
    part, choice = read_part(data), first_choice(data) or {}
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not part.named or not isinstance(content, list) or not isinstance(content[0], Mapping):
        return replace(part, top=())
    top = content[0].get("top_probs")
    listed = [one for one in top if isinstance(one, Mapping)] if isinstance(top, list) else []
    pairs = [(one.get("id"), one.get("prob")) for one in listed]
    known = {
        f"token_id:{token}": math.log(chance)
        for token, chance in pairs
        if type(token) is int and isinstance(chance, int | float) and chance > 0
    }
    return replace(part, top=[known] if known else ())


class NamedTokens:
    """Reads the events of one answer, which continues a sequence."""

    def __init__(self, codec: Codec, sequence: Sequence[int]) -> None:
        self._codec = codec
        self._joiner = Joiner(codec)
        self._joiner.advance(sequence)
        self._held: tuple[int, Any] | None = None

    def read(self, data: Any) -> Part:
        """Return an event's data as a Part with token ids; raise UnreadableError."""
        part = read_part(data)
        if not part.named:
            if part.text:
                raise UnreadableError("an event has text without log probabilities", lasting=True)
            return replace(part, token_ids=())
        *_, token = part.named
        held, self._held = self._held, None
        if not part.text and self._codec.is_control(token) and token not in self._codec.end_tokens:
            # It ends the answer, or nothing shows it: the next event says.
            self._held = token, part.top[-1]
            return self._with(held, Part(()))
        ids = self._tokens(token, part.text)
        self._joiner.advance(ids)
        known = part.top[-1] if ids[-1] == token else None
        text = self._codec.decode(ids) if len(ids) == 1 else part.text
        top = [*[None] * (len(ids) - 1), known]
        return self._with(held, replace(part, token_ids=ids, text=text, top=top))

    def _with(self, held: tuple[int, Any] | None, part: Part) -> Part:
        """Return a part behind a token that was held."""
        if held is None:
            return part
        token, top = held
        self._joiner.advance([token])
        text = self._codec.decode([token]) + part.text
        ids = (token, *(part.token_ids or ()))
        return replace(part, token_ids=ids, text=text, top=[top, *part.top])

    def _tokens(self, token: int, text: str) -> tuple[int, ...]:
        """Return the tokens that an event adds, of which the last is named."""
        is_hidden = not text and self._codec.is_control(token)
        if is_hidden or self._joiner.joins([token], text):
            return (token,)
        ids = self._joiner.encode(text)
        if not ids or not self._joiner.joins(ids, text):
            raise UnreadableError(
                "its tokenizer cannot encode its text; set tokenizer to the one "
                "that the server's model has",
                lasting=True,
            )
        return tuple(ids)

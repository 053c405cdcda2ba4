"""vLLM's dialect: token ids both ways.

Prompts are token ids. With `return_token_ids` every event of the answer has the ids that it adds,
none or several, the stop token among them. With `logprob_token_ids` it has the log probability of a
chosen token at each of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.backends.openai_server.wire import Part, UnreadableError
from splitreason_integrations.backends.scores import LIKELIEST, Asked, asked_by
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling, uniform

_EVENT_TOKENS = 8
"""Tokens in an event behind the first one: events cost time on both sides."""
_NEVER = -100
_BROKEN = "\ufffd"
_CONTEXT_TOKENS = 6
TOP = 5
"""How many of the most probable tokens a server gives that does not know `logprob_token_ids`."""


NO_SERVER_KNOWS = frozenset({"no_repeat_ngram_size"})
"""Settings of a `Sampling` that no request can have."""


def sampled(order: WriteOrder, position: int) -> dict[str, Any]:
    """Return how the token at `position` of the reply, and those behind it, are to be drawn.

    The seed goes by position, as far as a server lets it: it draws the tokens of one request from
    one seed, so with a temperature the text depends on how orders are cut, greedy text does not.
    """
    sampling = order.sampling
    return {
        "temperature": 0.0 if sampling.greedy else sampling.temperature,
        # A server has defaults of its own for parameters that are left out.
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "top_k": -1 if sampling.top_k is None else sampling.top_k,
        "min_p": 0.0 if sampling.min_p is None else sampling.min_p,
        "repetition_penalty": 1.0,
        **{
            name: value for name, value in sampling.penalties.items() if name not in NO_SERVER_KNOWS
        },
        "seed": int(uniform(order.seed, order.stream, position) * (1 << 53)),
    }


def settings_of(order: WriteOrder, default: Sampling) -> frozenset[str]:
    """Return the parameters that say what a request wishes, beyond a model's own defaults."""
    usual = sampled(replace(order, sampling=default), 0)
    own = {name for name, value in sampled(order, 0).items() if usual.get(name) != value}
    return frozenset(own | {"tools"})


def never(token_ids: Sequence[int]) -> dict[str, Any]:
    """Return the parameters that keep a server from writing some tokens."""
    return {"logit_bias": {str(token): _NEVER for token in token_ids}} if token_ids else {}


def held(order: WriteOrder) -> dict[str, Any]:
    """Return what holds an answer to a form."""
    grammar = {} if order.grammar is None else {"structured_outputs": {"grammar": order.grammar}}
    return grammar | ({"allowed_token_ids": list(order.only)} if order.only else {})


def completion(
    model: str, prompt: Sequence[int], order: WriteOrder, *, max_tokens: int, position: int
) -> dict[str, Any]:
    """Return the request for an order whose first token stands at `position` of the reply."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": max_tokens,
        "stream": True,
        "return_token_ids": True,
        "stream_interval": _EVENT_TOKENS,
        "skip_special_tokens": False,
        "stop_token_ids": sorted(order.stop_tokens),
        **sampled(order, position),
        **never(order.forbidden),
        **held(order),
    }
    return body | scores_of(asked_by(order.watch))


def reading(model: str, *prompts: Sequence[int]) -> dict[str, Any]:
    """Return the request that has prompts read, and a token written behind each."""
    return {
        "model": model,
        "prompt": [list(prompt) for prompt in prompts],
        "max_tokens": 1,
        "stream": True,
        "return_token_ids": True,
        "temperature": 0.0,
    }


def scoring(
    model: str, prompts: Sequence[Sequence[int]], asked: Asked, forbidden: Sequence[int]
) -> dict[str, Any]:
    """Return the request for probabilities behind each of some prompts.

    The token that is written there is the likeliest one that is not forbidden.
    """
    return reading(model, *prompts) | never(forbidden) | scores_of(asked)


def scores_of(asked: Asked) -> dict[str, Any]:
    """Return the parameters that ask for probabilities at every place."""
    if not asked:
        return {}
    if asked.spread:
        return {"logprobs": LIKELIEST, "return_tokens_as_token_ids": True}
    return {
        "logprobs": TOP,
        "logprob_token_ids": list(asked.tokens),
        "return_tokens_as_token_ids": True,
    }


class Received:
    """The tokens of one answer as they arrive, checked.

    Args:
        codec: of the model, as it is known here.
        vocabulary: how many token ids there are.
        sequence: the ids that were sent.
        order: what was asked.
        max_tokens: how many tokens were asked for.

    """

    def __init__(
        self,
        codec: Codec,
        *,
        vocabulary: int,
        sequence: Sequence[int],
        order: WriteOrder,
        max_tokens: int,
    ) -> None:
        self._codec = codec
        self._vocabulary = vocabulary
        self._sequence = sequence
        self._order = order
        self._left = self._most = max_tokens
        before = sequence[-_CONTEXT_TOKENS:]
        self._stream = codec.text_stream(after=before)
        # Within a character the two may differ on whose half is whose.
        self._compares = not codec.decode(before).endswith(_BROKEN)
        self._mine = self._theirs = ""

    def take(self, part: Part) -> Written:
        """Return what a part adds; raise UnreadableError if it is not what was asked for."""
        if part.prompt is not None and part.prompt != list(self._sequence):
            raise UnreadableError("read another prompt than the one sent", lasting=True)
        if part.token_ids is None and part.text:
            raise UnreadableError(
                "an event has text without token ids; use a server that knows return_token_ids, "
                "such as vLLM from 0.10.2 on",
                lasting=True,
            )
        kept, stop_token = self._cut(part)
        self._check_ids(kept)
        self._left -= len(kept)
        if self._left < 0:
            raise UnreadableError("more tokens than were asked for")
        self._compare(kept, part.text)
        return Written(kept, self._end(part, stop_token), stop_token)

    def rest(self) -> tuple[int, ...]:
        """Return nothing: no token waits for others."""
        return ()

    def _cut(self, part: Part) -> tuple[tuple[int, ...], int | None]:
        """Return the tokens before a stop token, and the stop token if the answer ends here."""
        ids = part.token_ids or ()
        for at, token in enumerate(ids):
            if token in self._order.stop_tokens:
                return ids[:at], token
        if part.finish != "stop":
            return ids, None
        # By an end of its own, named or not: one that is written as a control token is no text.
        own = bool(ids) and self._codec.is_control(ids[-1])
        named = part.stop_token if part.stop_token in self._order.stop_tokens else None
        ends = min(self._codec.end_tokens, default=None)
        return (ids[:-1] if own else ids), (named if named is not None else ends)

    def _check_ids(self, token_ids: Sequence[int]) -> None:
        for token in token_ids:
            if not 0 <= token < self._vocabulary:
                raise UnreadableError(
                    f"token id {token} is outside the vocabulary of {self._vocabulary}; set "
                    "tokenizer to the one that the server's model has",
                    lasting=True,
                )
            if token in self._order.forbidden:
                raise UnreadableError(
                    f"token id {token} was forbidden by logit_bias, which the server ignores",
                    lasting=True,
                )

    def _end(self, part: Part, stop_token: int | None) -> End | None:
        if stop_token is not None or part.finish == "stop":
            return End.STOP_TOKEN
        if self._left == 0:
            return End.LENGTH
        if part.finish != "length":
            return None
        if self._left == self._most:
            raise UnreadableError("ended by its length before it wrote anything", lasting=True)
        # The server has a cap of its own.
        return End.LENGTH

    def _compare(self, token_ids: Sequence[int], text: str) -> None:
        """Raise UnreadableError if the ids decode to another text than the server's."""
        mine = "".join(self._stream.push(token) for token in token_ids)
        if not self._compares:
            return
        self._mine += mine.replace(_BROKEN, "")
        self._theirs += text.replace(_BROKEN, "")
        same = min(len(self._mine), len(self._theirs))
        if self._mine[:same] != self._theirs[:same]:
            raise UnreadableError(
                "its token ids decode to another text than its own; set tokenizer to the one that "
                "the server's model has",
                lasting=True,
            )
        self._mine, self._theirs = self._mine[same:], self._theirs[same:]

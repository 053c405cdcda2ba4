"""How servers are spoken to: what is asked of one, and how its answer becomes token ids of ours."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from splitreason_integrations.backends.base import WriteOrder, Written
from splitreason_integrations.backends.openai_server.ids import (
    Received,
    completion,
    probability_of,
    reading,
    scoring,
)
from splitreason_integrations.backends.openai_server.wire import Part, Question, read_part
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling

_NOT_UNDERSTOOD = frozenset({400, 404, 405, 415, 422, 501})
_MAY_BE_LEFT_OUT = frozenset(
    {
        "add_special_tokens",
        "logit_bias",
        "logprobs",
        "min_p",
        "repetition_penalty",
        "seed",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_NEWER_NAMES = {"max_tokens": "max_completion_tokens"}


@dataclass(frozen=True, slots=True)
class Served:
    """A model as its server and this process know it.

    `vocabulary` is how many token ids it may answer with; `own` says that the codec is made of
    the model's own tokenizer, not of one that its text is merely counted and cut by.
    """

    model: str
    codec: Codec
    vocabulary: int
    own: bool = True


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is to be gone on with: a prompt, what stands behind it, and how."""

    prompt: Sequence[int]
    written: Sequence[int]
    order: WriteOrder
    max_tokens: int


class Answer(Protocol):
    """Makes tokens of an answer, with distrust."""

    def take(self, part: Part) -> Written:
        """Return what a part adds; raise UnreadableError where it is not what was asked for."""
        ...

    def rest(self) -> tuple[int, ...]:
        """Return what waits for more of the answer, where no more comes."""
        ...


class Dialect(Protocol):
    """One way of asking. `ahead_tokens` are asked for at least, for further orders to come."""

    name: str
    ahead_tokens: int

    def check(self, order: WriteOrder) -> None:
        """Raise RequestError for an order that cannot be given in this dialect."""
        ...

    def question(self, wanted: Continuation) -> Question:
        """Return what to ask for a text to go on."""
        ...

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        ...

    def scoring(self, prompts: Sequence[Sequence[int]], token: int) -> Question:
        """Return what to ask for P(`token`) behind each of some sequences; raise RequestError."""
        ...

    def lookahead(self, sequence: Sequence[int], token: int, most: int) -> Question | None:
        """Return what to ask for a text to go on up to a token, with its probability all along.

        None where ids and probabilities are not both told.
        """
        ...

    def prefill(self, sequence: Sequence[int]) -> Question | None:
        """Return what has a text read and next to nothing written.

        None where it is not known to be what is gone on with.
        """
        ...

    def learns(self, error: ModelCallError) -> bool:
        """Return whether a refusal names what can be left out; it is, from now on."""
        ...


class TokenIds:
    """`/completions` with token ids both ways: nothing is encoded twice."""

    name = "ids"
    ahead_tokens = 0

    def __init__(self, served: Served) -> None:
        self._served = served

    def check(self, order: WriteOrder) -> None:
        """Do nothing: all orders can be given."""

    def question(self, wanted: Continuation) -> Question:
        """Return what to ask for a text to go on."""
        sequence = [*wanted.prompt, *wanted.written]
        body = completion(
            self._served.model,
            sequence,
            wanted.order,
            max_tokens=wanted.max_tokens,
            position=len(wanted.written),
        )
        return Question("/completions", body, read_part, len(sequence), wanted.max_tokens)

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        return Received(
            self._served.codec,
            vocabulary=self._served.vocabulary,
            sequence=(*wanted.prompt, *wanted.written),
            order=wanted.order,
            max_tokens=wanted.max_tokens,
        )

    def scoring(self, prompts: Sequence[Sequence[int]], token: int) -> Question:
        """Return what to ask for P(`token`) behind each of some sequences."""
        body = scoring(self._served.model, [list(prompt) for prompt in prompts], token)
        return Question("/completions", body, read_part, len(prompts), 1)

    def lookahead(self, sequence: Sequence[int], token: int, most: int) -> Question | None:
        """Return what to ask for a text to go on up to a token, with its probability all along."""
        order = WriteOrder(
            max_tokens=most,
            sampling=Sampling(temperature=0.0),
            seed=0,
            stream=0,
            stop_tokens=frozenset([token]),
        )
        body = completion(self._served.model, sequence, order, max_tokens=most, position=0)
        asked = body | probability_of(token)
        return Question("/completions", asked, read_part, len(sequence), most)

    def prefill(self, sequence: Sequence[int]) -> Question | None:
        """Return what has a text read and one token written."""
        body = reading(self._served.model, sequence)
        return Question("/completions", body, read_part, len(sequence), 1)

    def learns(self, error: ModelCallError) -> bool:
        """Return False: vLLM's dialect is all or nothing."""
        return False


class Lenient:
    """Leaves out of its requests what a server does not know, and calls things as it does."""

    def __init__(self) -> None:
        self._left_out: frozenset[str] = frozenset()
        self._names: dict[str, str] = {}

    def leave_out(self, name: str) -> None:
        """Do not send a parameter from now on."""
        self._left_out |= {name}

    def adopt(self, other: "Lenient") -> None:
        """Leave out what another one has learned to leave out."""
        self._left_out |= other._left_out
        self._names |= other._names

    def lookahead(self, sequence: Sequence[int], token: int, most: int) -> Question | None:
        """Return None: what it would write is not known by its ids."""
        return None

    def prefill(self, sequence: Sequence[int]) -> Question | None:
        """Return None: whether its text is kept by the tokens that were read is not known."""
        return None

    def learns(self, error: ModelCallError) -> bool:
        """Return whether a refusal names what can be left out; it is, from now on."""
        if error.status not in _NOT_UNDERSTOOD:
            return False
        words = set(re.findall(r"\w+", error.said))
        for old, new in _NEWER_NAMES.items():
            if {old, new} <= words and old not in self._names:
                self._names[old] = new
                return True
        refused = (_MAY_BE_LEFT_OUT & words) - self._left_out
        self._left_out |= refused
        return bool(refused)

    def fitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body as the server takes it."""
        return {
            self._names.get(name, name): value
            for name, value in body.items()
            if name not in self._left_out
        }


def is_not_understood(error: ModelCallError) -> bool:
    """Return whether a failure says that another dialect may be understood."""
    if error.retryable:
        return False
    return error.status is None or error.status in _NOT_UNDERSTOOD

"""Dialects of servers: how a question is put, and how its answer becomes token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from splitreason_integrations.backends.base import WriteOrder, Written
from splitreason_integrations.backends.openai_server.ids import (
    Received,
    completion,
    reading,
    scores_of,
    scoring,
)
from splitreason_integrations.backends.openai_server.refusals import NOT_UNDERSTOOD
from splitreason_integrations.backends.openai_server.wire import Part, Question, read_part
from splitreason_integrations.backends.scores import Asked
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Served:
    """A model as its server and this process know it.

    Attributes:
        model: the server's name for it.
        codec: its tokenizer and chat template, or those of another model.
        vocabulary: how many token ids it may answer with.
        own: whether the codec is made of the model's own tokenizer.
        host: of the server, by which providers are known.

    """

    model: str
    codec: Codec
    vocabulary: int
    own: bool = True
    host: str = ""


@dataclass(frozen=True, slots=True)
class Continuation:
    """A text to be continued.

    Attributes:
        prompt: the prompt.
        written: the reply so far.
        order: how to write.
        max_tokens: the most tokens to ask for.

    """

    prompt: Sequence[int]
    written: Sequence[int]
    order: WriteOrder
    max_tokens: int


def received(served: Served, wanted: Continuation) -> Received:
    """Return what reads the answer to a continuation as token ids."""
    return Received(
        served.codec,
        vocabulary=served.vocabulary,
        sequence=(*wanted.prompt, *wanted.written),
        order=wanted.order,
        max_tokens=wanted.max_tokens,
    )


class Answer(Protocol):
    """Makes tokens of an answer, and checks it."""

    def take(self, part: Part) -> Written:
        """Return what a part adds; raise UnreadableError if it is not what was asked for."""
        ...

    def rest(self) -> tuple[int, ...]:
        """Return tokens that waited for more of the answer, when no more comes."""
        ...


class Dialect(Protocol):
    """One way of asking.

    Attributes:
        name: the dialect's name.
        ahead_tokens: the least number of tokens to ask for; further orders use the rest.

    """

    name: str
    ahead_tokens: int

    def check(self, order: WriteOrder) -> None:
        """Raise RequestError for an order that cannot be given in this dialect."""
        ...

    def question(self, wanted: Continuation) -> Question:
        """Return the question that asks for a continuation."""
        ...

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        ...

    def scoring(
        self, prompts: Sequence[Sequence[int]], asked: Asked, forbidden: Sequence[int]
    ) -> Question:
        """Return what to ask for behind each of some sequences; raise RequestError."""
        ...

    def lookahead(self, sequence: Sequence[int], token: int, most: int) -> Question | None:
        """Return the question that asks for a draft up to a token, with its probabilities.

        None unless the server gives both ids and probabilities.
        """
        ...

    def prefill(self, sequence: Sequence[int]) -> Question | None:
        """Return the question that has a sequence read and next to nothing written.

        None if the server's tokens of the text may be others.
        """
        ...

    def added_tokens(self, tokens: int) -> int:
        """Return how many more tokens a server may count than the sequence's `tokens`."""
        ...

    def adapts(self, error: ModelCallError) -> bool:
        """Return whether a refusal asks for another way of asking, which is taken from now on."""
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
        """Return the question that asks for a continuation."""
        sequence = [*wanted.prompt, *wanted.written]
        body = completion(
            self._served.model,
            sequence,
            wanted.order,
            max_tokens=wanted.max_tokens,
            position=len(wanted.written),
        )
        return self._asked(body, len(sequence), wanted.max_tokens)

    def answer(self, wanted: Continuation) -> Answer:
        """Return what reads the answer to that question."""
        return received(self._served, wanted)

    def scoring(
        self, prompts: Sequence[Sequence[int]], asked: Asked, forbidden: Sequence[int]
    ) -> Question:
        """Return what to ask for behind each of some sequences."""
        body = scoring(self._served.model, prompts, asked, forbidden)
        return self._asked(body, len(prompts), 1)

    def lookahead(self, sequence: Sequence[int], token: int, most: int) -> Question | None:
        """Return the question that asks for a draft up to a token, with its probabilities."""
        order = WriteOrder(
            max_tokens=most,
            sampling=Sampling(temperature=0.0),
            seed=0,
            stream=0,
            stop_tokens=frozenset([token]),
        )
        body = completion(self._served.model, sequence, order, max_tokens=most, position=0)
        asked = body | scores_of(Asked((token,)))
        return self._asked(asked, len(sequence), most)

    def prefill(self, sequence: Sequence[int]) -> Question | None:
        """Return the question that has a sequence read and one token written."""
        body = reading(self._served.model, sequence)
        return self._asked(body, len(sequence), 1)

    def _asked(self, body: Mapping[str, Any], tokens: int, most: int) -> Question:
        """Return a question of which nothing is left out: vLLM's dialect is all or nothing."""
        return Question("/completions", body, read_part, tokens, most, is_lenient=False)

    def added_tokens(self, tokens: int) -> int:
        """Return 0: the server reads these tokens and no others."""
        return 0

    def adapts(self, error: ModelCallError) -> bool:
        """Return False: there is one way of asking."""
        return False


class Lenient:
    """What dialects without token ids have in common."""

    def adapts(self, error: ModelCallError) -> bool:
        """Return False: there is one way of asking."""
        return False

    def lookahead(self, sequence: Sequence[int], token: int, most: int) -> Question | None:
        """Return None: a draft needs token ids."""
        return None

    def prefill(self, sequence: Sequence[int]) -> Question | None:
        """Return None: the server's tokens of the text may be others."""
        return None


def is_not_understood(error: ModelCallError) -> bool:
    """Return whether a failure says that another dialect may be understood."""
    if error.retryable:
        return False
    return error.status is None or error.status in NOT_UNDERSTOOD

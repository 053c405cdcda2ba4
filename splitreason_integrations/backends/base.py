"""The interface between the engine and a backend: models and their sessions.

A session is one sequence in one model. Its text is never encoded again and its cache never rebuilt:
`extend` adds tokens that the other author wrote, `truncate` cuts a tail off.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Protocol, runtime_checkable

from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.protocols import AnswerForm, Codec, Guide
from splitreason_integrations.sampling import Sampling


class End(Enum):
    """Why a session stopped writing."""

    STOP_TOKEN = auto()
    WATCH = auto()
    LENGTH = auto()
    DEADLINE = auto()


@dataclass(frozen=True, slots=True)
class Written:
    """Tokens that a session wrote.

    Attributes:
        token_ids: the new tokens, without the stop token.
        end: why the writing ended, None while it continues.
        stop_token: the token that ended it, if one did.

    """

    token_ids: tuple[int, ...]
    end: End | None = None
    stop_token: int | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        """The new tokens, and the stop token."""
        return self.token_ids if self.stop_token is None else (*self.token_ids, self.stop_token)


class Verdict(Enum):
    """What a watch decides about a chosen token."""

    KEEP = auto()
    STOP = auto()
    REFUSE = auto()


class Watch(Protocol):
    """Judges every token before it becomes part of the sequence.

    `STOP` ends the writing before the token, `REFUSE` has another one chosen in its place.

    Attributes:
        probability_of: a token whose probability is wanted at every place, None for none.
        wants_entropy: whether the entropy in nats is wanted at every place.
        wants_confidence: whether the probability of the chosen token is wanted.

    """

    probability_of: int | None
    wants_entropy: bool
    wants_confidence: bool

    def __call__(
        self,
        token_id: int,
        *,
        index: int,
        probability: float,
        entropy: float,
        confidence: float,
    ) -> Verdict:
        """Judge `token_id`, about to be written at `index` of the session's reply.

        Args:
            token_id: the chosen token.
            index: its place in the session's reply.
            probability: P(`probability_of`) here; 0 if it is not wanted.
            entropy: of the token at this place, in nats; 0 if it is not wanted.
            confidence: P(`token_id`) here; 1 if it is not wanted.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which facts of the tokens that a session reads are wanted; the others keep their defaults.

    Attributes:
        probability_of: a token whose probability behind each token is wanted; None for none.
        entropy: whether the entropy of what comes behind each token is wanted.
        own: whether the probability of each token itself is wanted.
        forbidden: tokens that are left out of all but `probability_of`: none is ever chosen.

    """

    probability_of: int | None = None
    entropy: bool = False
    own: bool = False
    forbidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a model that reads a token knows of it.

    Attributes:
        next_probability: P(`Wanted.probability_of`) behind the token.
        next_entropy: entropy of what comes behind the token, in nats.
        probability: P(the token) behind what comes before it.
        likeliest: whether no other token is likelier there.

    """

    next_probability: float = 0.0
    next_entropy: float = 0.0
    probability: float = 1.0
    likeliest: bool = True


@dataclass(frozen=True, slots=True)
class WriteOrder:
    """How a session is to write.

    Attributes:
        max_tokens: the most tokens to write.
        sampling: how tokens are drawn.
        seed: the request's seed.
        stream: which of the seed's streams of random numbers to use.
        stop_tokens: tokens that end the writing and are not kept.
        forbidden: tokens that are never chosen.
        watch: judges every token.
        guide: keeps the reply in its form.
        grammar: of all that is written, in Lark's notation; for engines that hold to it.
        form: of the whole answer; for chats that are asked for one.
        only: the tokens of which the first one must be; empty for all.
        deadline_s: when to stop, a time of `time.monotonic()`.

    """

    max_tokens: int
    sampling: Sampling
    seed: int
    stream: int
    stop_tokens: frozenset[int]
    forbidden: tuple[int, ...] = ()
    watch: Watch | None = None
    guide: Guide | None = None
    grammar: str | None = None
    form: AnswerForm | None = None
    only: tuple[int, ...] = ()
    deadline_s: float | None = None


class Session(Protocol):
    """One sequence in one model."""

    @property
    def token_ids(self) -> Sequence[int]:
        """The sequence, the prompt included."""
        ...

    @property
    def length(self) -> int:
        """Tokens in the sequence, the prompt included."""
        ...

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that have not been through the model yet."""
        ...

    @property
    def read(self) -> int:
        """Tokens of the prompt or the other author that have been through the model so far."""
        ...

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is computed until they are needed."""
        ...

    def truncate(self, length: int) -> None:
        """Cut the sequence and its cache to `length` tokens."""
        ...

    def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator stops the model."""
        ...

    async def read_facts(
        self, wanted: Wanted, *, last: int | None = None, spare: int = 0
    ) -> list[TokenFacts]:
        """Read the pending tokens, all in one pass or request; return facts of each of them.

        Args:
            wanted: which facts.
            last: return those of the last so many tokens instead, which may be more than are
                pending.
            spare: leave out the very last so many of these.

        """
        ...

    def close(self) -> None:
        """Free the cache, at the end of the running step at the latest."""
        ...


@runtime_checkable
class DraftsAhead(Protocol):
    """A session that can draft what it would write, to know probabilities before they are asked."""

    def look_ahead(self, token_id: int) -> None:
        """Start drafting behind the sequence, with P(`token_id`) at every place.

        Where the tokens appended next match the draft, `read_facts` answers from it. This
        changes only what that call costs.
        """
        ...


@runtime_checkable
class Prefills(Protocol):
    """A session that can read its pending tokens in the background."""

    def prefill(self) -> None:
        """Start reading the pending tokens, which count as read from now on.

        This changes only what the next order costs. If the reading fails, that order sees it.
        """
        ...


@runtime_checkable
class LeavesOut(Protocol):
    """A session that cannot ask its model's server for all that its orders say.

    Attributes:
        left_out: the settings that were not asked for, as text.

    """

    left_out: frozenset[str]


@runtime_checkable
class Closable(Protocol):
    """A loaded model that can free its memory, processes and connections."""

    def close(self) -> None:
        """Free all; no session can be opened any more."""
        ...


@runtime_checkable
class FindsOut(Protocol):
    """A model that knows what it gives once its servers have been asked."""

    async def find_out(self, *, whole: bool = False) -> None:
        """Ask them, unless they have been; raise ModelCallError.

        `whole` asks as well whether they can give a whole answer in its form.
        """
        ...


@runtime_checkable
class ProcessBound(Protocol):
    """A model that some processes cannot use, such as those forked from the one that loaded it."""

    def check_process(self) -> None:
        """Raise ForkedProcessError if this process cannot use the model."""
        ...


class Gives(Flag):
    """What a model's sessions can do beyond writing; triggers, close rules and forms need it.

    Attributes:
        FORM: keep an answer to a grammar, from any place in it on.
        ANSWER: give a whole answer that fits a schema, at once.
        CALL: give a whole call that is required, at once.
        WRITING: give probabilities of each token that they write.
        READING: give the facts of tokens that they read.
        ALL: all of it; `FORM` takes the place of `ANSWER` and `CALL`.

    """

    NOTHING = 0
    FORM = auto()
    WRITING = auto()
    READING = auto()
    ANSWER = auto()
    CALL = auto()
    ALL = FORM | WRITING | READING


class Model(Protocol):
    """A loaded model.

    Attributes:
        name: the name under which it is reported.
        codec: its tokenizer and chat template.
        prices: what its tokens cost.
        hint: a sentence that it alone sees at the end of the user's message.
        taught: whether it was trained to mark hard spans with the tags; None where a probe has to
            find out.
        context_tokens: the longest sequence, prompt and reply.
        default_sampling: how it samples where the request does not say.
        remote: whether what it reads leaves this process.
        resumes: whether a stopped session continues as if it had not been stopped. Otherwise every
            order is a request of its own.

    """

    name: str
    codec: Codec
    prices: Prices
    hint: str | None
    taught: bool | None
    context_tokens: int
    default_sampling: Sampling
    remote: bool
    resumes: bool

    @property
    def gives(self) -> Gives:
        """What its sessions can do beyond writing."""
        ...

    @property
    def unknown_sampling(self) -> frozenset[str]:
        """The settings of a `Sampling` that it cannot be asked for."""
        ...

    @property
    def open_sessions(self) -> int:
        """How many sessions hold a cache now."""
        ...

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> Session:
        """Start a session with a prompt and what is `written` behind it already.

        A model that is sent messages needs the `Prompt` that its codec rendered; for others ids are
        enough. Raises SessionError.
        """
        ...

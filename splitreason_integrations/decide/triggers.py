"""When a span opens. Triggers are values and join with `|` and `&`.

A trigger is asked at every position of the small model's reply, after the model has chosen its
next token and before that token is written. It is given a `Position`; its `needs` say which facts
of it have to be computed, so that a trigger costs no more than it uses.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.sampling import uniform

_RANDOM_STREAM = 0x7261


class Needs(Flag):
    """Facts of a position that take time to compute."""

    NOTHING = 0
    OPEN_PROBABILITY = auto()
    ENTROPY = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Position:
    """One place at which a span may open.

    Facts that the trigger does not need keep their defaults.

    Attributes:
        index: Tokens in the small model's sequence behind the prompt.
        tag_chosen: Whether the small model chose its open tag here.
        open_probability: P(open tag) as the next token.
        entropy: Entropy of the next token, in nats.
        line: Text since the last line break.
        seed: The request's seed.

    """

    index: int
    tag_chosen: bool = False
    open_probability: float = 0.0
    entropy: float = 0.0
    line: str = ""
    seed: int = 0


class Trigger:
    """Base of all triggers: define `fires`; join with `|` and `&`.

    Attributes:
        needs: Facts that have to be computed for `fires`.
        uses_tag: Whether the small model's open tag matters; otherwise it is suppressed.
        stops_at_tag: Whether `fires` is true just where the tag was chosen, so that the model can
            stop there by itself.
        hands_back: Whether a span ends before the reply does.

    """

    needs: Needs = Needs.NOTHING
    uses_tag: bool = False
    stops_at_tag: bool = False
    hands_back: bool = True
    opens_spans: bool = True

    def fires(self, at: Position) -> bool:
        """Return whether a span opens at this position."""
        raise TypeError(f"{type(self).__name__} must define fires(at)")

    def __or__(self, other: "Trigger") -> "Trigger":
        return Either(self, other)

    def __and__(self, other: "Trigger") -> "Trigger":
        return Both(self, other)

    def __str__(self) -> str:
        return type(self).__name__.lower()


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"{name} is a probability and must lie in [0, 1], got {value}")


@dataclass(frozen=True)
class Tag(Trigger):
    """The small model's own open tag (arXiv 2504.16379): learned offload.

    Attributes:
        threshold: None opens a span where the small model chooses the tag; a number in [0, 1]
            opens one where P(open tag) exceeds it. Of a tag of several tokens, the first counts.

    Raises:
        ConfigurationError: Where the threshold is not in [0, 1].

    """

    threshold: float | None = None
    uses_tag = True

    def __post_init__(self) -> None:
        if self.threshold is not None:
            _check_share("Tag threshold", self.threshold)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """P(open tag), if there is a threshold."""
        return Needs.NOTHING if self.threshold is None else Needs.OPEN_PROBABILITY

    @property
    def stops_at_tag(self) -> bool:  # type: ignore[override]
        """Whether the chosen tag alone opens a span: the model can stop there by itself."""
        return self.threshold is None

    def fires(self, at: Position) -> bool:
        """Return whether the tag was chosen, or is probable enough."""
        if self.threshold is None:
            return at.tag_chosen
        return at.open_probability > self.threshold

    def __str__(self) -> str:
        return "tag" if self.threshold is None else f"tag>{self.threshold:g}"


@dataclass(frozen=True)
class Entropy(Trigger):
    """A baseline: opens where the small model is unsure of its next token.

    Attributes:
        above: Entropy of the next token in nats, above which a span opens.

    """

    above: float
    needs = Needs.ENTROPY

    def fires(self, at: Position) -> bool:
        """Return whether the next token's entropy is high."""
        return at.entropy > self.above

    def __str__(self) -> str:
        return f"entropy>{self.above:g}"


@dataclass(frozen=True)
class Random(Trigger):
    """A baseline: opens at random, decided by the request's seed and the position.

    Attributes:
        probability: The chance of a span at each position, in [0, 1].

    """

    probability: float

    def __post_init__(self) -> None:
        _check_share("Random probability", self.probability)

    def fires(self, at: Position) -> bool:
        """Return whether the draw for this position is below the probability."""
        return uniform(at.seed, _RANDOM_STREAM, at.index) < self.probability

    def __str__(self) -> str:
        return f"random:{self.probability:g}"


@dataclass(frozen=True)
class Keyword(Trigger):
    """A rule: opens where the text written so far ends with a match.

    Attributes:
        pattern: A regular expression, matched against the end of the current line.

    Raises:
        ConfigurationError: Where the pattern is not valid or matches empty text.

    """

    pattern: str
    needs = Needs.TEXT

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigurationError(f"Keyword pattern {self.pattern!r}: {error}") from error
        if re.search(f"(?:{self.pattern})\\Z", ""):
            raise ConfigurationError(f"Keyword pattern {self.pattern!r} matches empty text")

    def fires(self, at: Position) -> bool:
        """Return whether the pattern ends exactly here."""
        return re.search(f"(?:{self.pattern})\\Z", at.line) is not None

    def __str__(self) -> str:
        return f"keyword:{self.pattern}"


@dataclass(frozen=True)
class Always(Trigger):
    """The large model writes the whole reply, as far as the policy lets it."""

    hands_back = False

    def fires(self, at: Position) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class Never(Trigger):
    """The small model writes the whole reply; its tags are suppressed."""

    opens_spans = False

    def fires(self, at: Position) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True)
class Shadow(Trigger):
    """Opens no span; reports every position at which another trigger would be asked.

    The small model's tags are suppressed. Where it chose one, the position is reported twice: with
    the tag, and with the token chosen in its place. Each request should have its own `note`.

    Attributes:
        inner: The trigger that is observed.
        note: Called with each position.

    """

    inner: Trigger
    note: Callable[[Position], None]
    opens_spans = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the observed trigger needs."""
        return self.inner.needs

    @property
    def uses_tag(self) -> bool:  # type: ignore[override]
        """Whether the observed trigger uses the tag."""
        return self.inner.uses_tag

    def fires(self, at: Position) -> bool:
        """Pass the position on; return False."""
        self.note(at)
        return False

    def __str__(self) -> str:
        return f"shadow({self.inner})"


@dataclass(frozen=True)
class Joined(Trigger):
    """Base of two triggers joined.

    Attributes:
        left: The first trigger.
        right: The second one.

    """

    left: Trigger
    right: Trigger

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What either side needs."""
        return self.left.needs | self.right.needs

    @property
    def uses_tag(self) -> bool:  # type: ignore[override]
        """Whether either side uses the tag."""
        return self.left.uses_tag or self.right.uses_tag


class Either(Joined):
    """Fires where one of two triggers does."""

    @property
    def opens_spans(self) -> bool:  # type: ignore[override]
        """Whether a side may open a span."""
        return self.left.opens_spans or self.right.opens_spans

    def fires(self, at: Position) -> bool:
        """Return whether one side fires."""
        return self.left.fires(at) or self.right.fires(at)

    def __str__(self) -> str:
        return f"({self.left} | {self.right})"


class Both(Joined):
    """Fires where both triggers do."""

    @property
    def opens_spans(self) -> bool:  # type: ignore[override]
        """Whether both sides may open a span."""
        return self.left.opens_spans and self.right.opens_spans

    def fires(self, at: Position) -> bool:
        """Return whether both sides fire."""
        return self.left.fires(at) and self.right.fires(at)

    def __str__(self) -> str:
        return f"({self.left} & {self.right})"


_NAMED = {"tag": Tag(), "always": Always(), "never": Never()}


def parse_trigger(text: str) -> Trigger:
    """Return the trigger that a short text names.

    `tag`, `tag>0.2`, `entropy>1.5`, `random:0.05`, `keyword:PATTERN`, `always` or `never`.

    Raises:
        ConfigurationError: For any other text.

    """
    if text in _NAMED:
        return _NAMED[text]
    try:
        if text.startswith("tag>"):
            return Tag(threshold=float(text[4:]))
        if text.startswith("entropy>"):
            return Entropy(above=float(text[8:]))
        if text.startswith("random:"):
            return Random(probability=float(text[7:]))
    except ValueError as error:
        raise ConfigurationError(
            f"trigger {text!r}: {error}; text names one trigger, join several in code, as in "
            "Tag(0.2) | Random(0.05)"
        ) from error
    if text.startswith("keyword:"):
        return Keyword(pattern=text[8:])
    raise ConfigurationError(
        f"unknown trigger {text!r}: use tag, tag>0.2, entropy>1.5, random:0.05, "
        "keyword:PATTERN, always or never"
    )

"""When a span opens. Triggers are values and join with `|` and `&`.

A trigger is asked at every position the small model is about to write, after it has chosen its
next token and before that token counts. What it may look at is a `Position`; it says in
`needs` which facts have to be worked out, so that a trigger that looks at nothing costs nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.sampling import uniform

_RANDOM_STREAM = 0x7261


class Needs(Flag):
    """Facts of a position that cost something to work out."""

    NOTHING = 0
    OPEN_PROBABILITY = auto()
    ENTROPY = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Position:
    """One place at which a span may open.

    `index` counts the tokens of the small model's reply so far, `tag_chosen` says that the small
    model chose its open tag here, `open_probability` is P(open tag), `entropy` is in nats over
    the next token, `line` is the text since the last line break and `seed` the request's.
    Facts that the trigger does not need are left at their defaults.
    """

    index: int
    tag_chosen: bool = False
    open_probability: float = 0.0
    entropy: float = 0.0
    line: str = ""
    seed: int = 0


class Trigger:
    """Base of all triggers: ask `fires`, join with `|` and `&`."""

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

    Without a threshold a span opens where the small model chooses the tag. With one, it opens
    where P(open tag) exceeds it: 1.0 never, 0.0 always, one knob in between. A tag of several
    tokens counts with its first one.
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
    """A baseline: the small model is unsure of its next token (entropy in nats above `above`)."""

    above: float
    needs = Needs.ENTROPY

    def fires(self, at: Position) -> bool:
        """Return whether the next token's entropy is high."""
        return at.entropy > self.above

    def __str__(self) -> str:
        return f"entropy>{self.above:g}"


@dataclass(frozen=True)
class Random(Trigger):
    """A baseline: opens with a fixed probability, decided by the request's seed and position."""

    probability: float

    def __post_init__(self) -> None:
        _check_share("Random probability", self.probability)

    def fires(self, at: Position) -> bool:
        """Return whether chance says so here."""
        return uniform(at.seed, _RANDOM_STREAM, at.index) < self.probability

    def __str__(self) -> str:
        return f"random:{self.probability:g}"


@dataclass(frozen=True)
class Keyword(Trigger):
    """A rule: opens where the current line ends with a match of the regular expression."""

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
    """Opens no span; `note` hears of every position at which `inner` is to be asked.

    The small model's tags are suppressed. Where it chose one, `note` hears of the position twice:
    with the tag, and with the token chosen in its place. One request should have one `note`.
    """

    inner: Trigger
    note: Callable[[Position], None]
    opens_spans = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the watched trigger needs."""
        return self.inner.needs

    @property
    def uses_tag(self) -> bool:  # type: ignore[override]
        """Whether the watched trigger looks at the tag."""
        return self.inner.uses_tag

    def fires(self, at: Position) -> bool:
        """Pass the position on; return False."""
        self.note(at)
        return False

    def __str__(self) -> str:
        return f"shadow({self.inner})"


@dataclass(frozen=True)
class Joined(Trigger):
    """Two triggers joined: looks at what either of them needs."""

    left: Trigger
    right: Trigger

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What either side needs."""
        return self.left.needs | self.right.needs

    @property
    def uses_tag(self) -> bool:  # type: ignore[override]
        """Whether a side looks at the tag."""
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

    `tag`, `tag>0.2`, `entropy>1.5`, `random:0.05`, `keyword:PATTERN`, `always`, `never`.
    Raises ConfigurationError for anything else.
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

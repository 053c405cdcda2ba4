"""What a close rule is asked, what it answers, and how two of them join."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import NamedTuple

from splitreason_integrations.errors import ConfigurationError

TEXT_CHARACTERS = 400
"""How much of the reply's text a close rule is given."""


class CloseNeeds(Flag):
    """Facts of a place in a span that take time to compute."""

    NOTHING = 0
    """No such fact."""
    CLOSE_PROBABILITY = auto()
    """P(close tag) as the next token."""
    OWN = auto()
    """The small model's judgement of the span's last tokens."""
    ENTROPY = auto()
    """The entropy of the small model's next token."""
    TEXT = auto()
    """The text at the span's end."""


class OwnToken(NamedTuple):
    """The small model's judgement of one token of a span that it reads along.

    Attributes:
        probability: P(the token) of the small model, at temperature 1.
        likeliest: Whether it is the small model's likeliest token.

    """

    probability: float
    likeliest: bool


@dataclass(frozen=True, slots=True)
class SpanPlace:
    """One place in a span, behind a token, at which the span may end.

    Facts that the close rule does not need keep their defaults.

    Attributes:
        close_probability: P(close tag) of the small model as its next token.
        entropy: Entropy of the small model's next token, in nats.
        own: All tokens of the span so far, in the small model's vocabulary.
        text: The reply's last `TEXT_CHARACTERS` up to here, the span included.
        new_text: The part of `text` behind the place before.

    """

    close_probability: float = 0.0
    entropy: float = math.inf
    own: Sequence[OwnToken] = ()
    text: str = ""
    new_text: str = ""


class CloseRule:
    """Base of all close rules: define `closes`; join with `|` and `&`.

    Attributes:
        needs: Facts that have to be computed for `closes`.
        uses_tag: Whether the small model's close tag matters.
        is_auto: Whether it stands for a rule that each request chooses; it joins with none.

    """

    needs: CloseNeeds = CloseNeeds.NOTHING
    uses_tag: bool = False
    is_auto: bool = False

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the span ends at this place."""
        raise TypeError(f"{type(self).__name__} must define closes(at)")

    def __or__(self, other: "CloseRule") -> "CloseRule":
        return CloseEither(self, other)

    def __and__(self, other: "CloseRule") -> "CloseRule":
        return CloseBoth(self, other)

    def __str__(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class JoinedClose(CloseRule):
    """Base of two close rules joined.

    Attributes:
        left: The first rule.
        right: The second one.

    Raises:
        ConfigurationError: Where a side is `AutoClose`.

    """

    left: CloseRule
    right: CloseRule

    def __post_init__(self) -> None:
        if self.left.is_auto or self.right.is_auto:
            raise ConfigurationError("auto is a close rule by itself: name all rules to join them")

    @property
    def needs(self) -> CloseNeeds:  # type: ignore[override]
        """What either side needs."""
        return self.left.needs | self.right.needs

    @property
    def uses_tag(self) -> bool:  # type: ignore[override]
        """Whether either side uses the tag."""
        return self.left.uses_tag or self.right.uses_tag


class CloseEither(JoinedClose):
    """Closes where one of two rules does."""

    def closes(self, at: SpanPlace) -> bool:
        """Return whether one side closes."""
        return self.left.closes(at) or self.right.closes(at)

    def __str__(self) -> str:
        return f"({self.left} | {self.right})"


class CloseBoth(JoinedClose):
    """Closes where both rules do."""

    def closes(self, at: SpanPlace) -> bool:
        """Return whether both sides close."""
        return self.left.closes(at) and self.right.closes(at)

    def __str__(self) -> str:
        return f"({self.left} & {self.right})"

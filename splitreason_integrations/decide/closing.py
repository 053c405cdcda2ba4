"""When a span ends. Close rules are values and join with `|` and `&`.

The large model writes a span in chunks, and the small one reads each chunk. A close rule is asked
at every place behind a token of the chunk; the span ends at the first place at which it holds. Its
`needs` say which facts of a place have to be computed. The cap of a span's length holds beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import NamedTuple

from splitreason_integrations.checks import check_number
from splitreason_integrations.decide.joined_text import Form, Grammar, number, number_text, whole
from splitreason_integrations.decide.steps import step_ends
from splitreason_integrations.errors import ConfigurationError


class CloseNeeds(Flag):
    """Facts of a place in a span that take time to compute."""

    NOTHING = 0
    CLOSE_PROBABILITY = auto()
    OWN = auto()
    ENTROPY = auto()
    TEXT = auto()


class OwnToken(NamedTuple):
    """What the small model, reading along, gives one of its tokens of a span.

    Attributes:
        probability: P(the token), at temperature 1.
        likeliest: Whether no other token is likelier.

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
        text: The reply's last 400 characters up to here, the span included.
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
class AutoClose(CloseRule):
    """Stands for the rule that each request chooses for its two models, where none is named."""

    is_auto = True

    def __str__(self) -> str:
        return "auto"


@dataclass(frozen=True)
class TagClose(CloseRule):
    """The small model's close tag (arXiv 2504.16379): it learned where a span ends.

    Attributes:
        above: The span ends where P(close tag) exceeds this number in [0, 1]. At 1 nothing is
            read along, and the large model's own close tag ends the span.

    Raises:
        SettingError: Where `above` is not in [0, 1].

    """

    above: float = 0.5
    uses_tag = True

    def __post_init__(self) -> None:
        check_number("TagClose above", self.above, most=1)

    @property
    def needs(self) -> CloseNeeds:  # type: ignore[override]
        """P(close tag), unless nothing exceeds `above`."""
        return CloseNeeds.CLOSE_PROBABILITY if self.above < 1 else CloseNeeds.NOTHING

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the close tag is probable enough."""
        return at.close_probability > self.above

    def __str__(self) -> str:
        return f"tag>{number_text(self.above)}"


@dataclass(frozen=True)
class Agrees(CloseRule):
    """The small model would have written the same: it has found its way again.

    The acceptance rule of speculative decoding, applied to a span's last tokens; speculative
    cascades (arXiv 2405.19261) compare the two models in the same way.

    Attributes:
        tokens: How many of the span's last tokens, in the small model's vocabulary, it must agree
            with.
        probability: It agrees with a token that it gives at least this probability, in [0, 1];
            None: with a token that is its likeliest.

    Raises:
        SettingError: Where a value is out of range.

    """

    tokens: int = 1
    probability: float | None = None
    needs = CloseNeeds.OWN

    def __post_init__(self) -> None:
        check_number("Agrees tokens", self.tokens, least=1, whole=True)
        if self.probability is not None:
            check_number("Agrees probability", self.probability, most=1)

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the small model agrees with the span's last tokens."""
        last = at.own[-self.tokens :]
        return len(last) == self.tokens and all(map(self._agrees, last))

    def _agrees(self, token: OwnToken) -> bool:
        if self.probability is None:
            return token.likeliest
        return token.probability >= self.probability

    def __str__(self) -> str:
        count = "" if self.tokens == 1 else f":{self.tokens}"
        least = "" if self.probability is None else f">{number_text(self.probability)}"
        return f"agrees{count}{least}"


@dataclass(frozen=True)
class LowEntropy(CloseRule):
    """The small model is sure of what comes next.

    Attributes:
        below: The span ends where the entropy of the next token is below this, in nats.

    Raises:
        SettingError: Where `below` is negative.

    """

    below: float = 0.5
    needs = CloseNeeds.ENTROPY

    def __post_init__(self) -> None:
        check_number("LowEntropy below", self.below)

    def closes(self, at: SpanPlace) -> bool:
        """Return whether the next token's entropy is low."""
        return at.entropy < self.below

    def __str__(self) -> str:
        return f"entropy<{number_text(self.below)}"


@dataclass(frozen=True)
class StepEnd(CloseRule):
    """The large model has finished a step: a line or a sentence.

    SpecReason (arXiv 2504.07891) hands over whole reasoning steps. A step that ends within a
    token, or in a part of the span that can only be kept whole, ends the span behind it.
    """

    needs = CloseNeeds.TEXT

    def closes(self, at: SpanPlace) -> bool:
        """Return whether a step ends in the text since the place before."""
        since = max(0, len(at.text) - len(at.new_text))
        return next(step_ends(at.text, since=since), None) is not None

    def __str__(self) -> str:
        return "step"


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


_GRAMMAR: Grammar[CloseRule] = Grammar(
    kind="close rule",
    forms=(
        Form(r"tag", TagClose),
        Form(r"tag>(.+)", lambda above: TagClose(number(above))),
        Form(r"agrees", Agrees),
        Form(r"agrees:([^>]+)", lambda tokens: Agrees(whole(tokens))),
        Form(r"agrees>(.+)", lambda least: Agrees(probability=number(least))),
        Form(r"agrees:([^>]+)>(.+)", lambda tokens, least: Agrees(whole(tokens), number(least))),
        Form(r"entropy", LowEntropy),
        Form(r"entropy<(.+)", lambda below: LowEntropy(number(below))),
        Form(r"step", StepEnd),
        Form(r"auto", AutoClose),
    ),
    examples="tag>0.5, agrees, agrees:2, agrees>0.9, agrees:2>0.9, entropy<0.5, step, auto, or "
    "several joined with | and &, as in agrees | step",
)


def parse_close(text: str) -> CloseRule:
    """Return the close rule that a text describes.

    `tag>0.5`, `agrees`, `agrees:2`, `agrees>0.9`, `agrees:2>0.9`, `entropy<0.5`, `step`, or several
    joined with `|` and `&`, as in `agrees | step`: `&` binds before `|`, parentheses group. `auto`
    leaves the choice to each request.

    Raises:
        ConfigurationError: For any other text.

    """
    return _GRAMMAR.parse(text)

"""What a trigger is asked, what it answers, and how two of them join."""

from dataclasses import dataclass
from enum import Flag, auto

from splitreason_integrations.errors import ConfigurationError


class Needs(Flag):
    """Facts of a position that take time to compute."""

    NOTHING = 0
    """No such fact."""
    OPEN_PROBABILITY = auto()
    """P(open tag) as the next token."""
    ENTROPY = auto()
    """The entropy of the next token."""
    TEXT = auto()
    """The reply's last characters."""
    CONFIDENCE = auto()
    """P(the chosen token), and the token's text."""
    LARGE = auto()
    """The large model has read the token."""


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
        confidence: P(the chosen token), at temperature 1.
        chosen: Text of the chosen token.
        text: The reply's last characters before the chosen token, at most 4,000.
        large_probability: P(the chosen token) of the large model, which reads along.
        large_likeliest: Whether the chosen token is the large model's likeliest.

    """

    index: int
    tag_chosen: bool = False
    open_probability: float = 0.0
    entropy: float = 0.0
    line: str = ""
    seed: int = 0
    confidence: float = 1.0
    chosen: str = ""
    text: str = ""
    large_probability: float = 1.0
    large_likeliest: bool = True


class Trigger:
    """Base of all triggers: define `fires`; join with `|` and `&`.

    Attributes:
        needs: Facts that have to be computed for `fires`.
        uses_tag: Whether the small model's open tag matters; otherwise it is suppressed.
        stops_at_tag: Whether `fires` is true just where the tag was chosen, so that the model can
            stop there by itself.
        hands_back: Whether a span ends before the reply does.
        opens_spans: Whether a span can open at all.
        is_auto: Whether it stands for a trigger that each request chooses; it joins with none.

    """

    needs: Needs = Needs.NOTHING
    uses_tag: bool = False
    stops_at_tag: bool = False
    hands_back: bool = True
    opens_spans: bool = True
    is_auto: bool = False

    def fires(self, at: Position) -> bool:
        """Return whether a span opens at this position."""
        raise TypeError(f"{type(self).__name__} must define fires(at)")

    def span_tokens(self, at: Position) -> int | None:
        """Return the exact length in tokens of a span that opens here.

        None, the default, leaves the end to the close rule.
        """
        return None

    def text_in_join(self) -> str:
        """Return the text of this trigger within a joined text."""
        return str(self)

    def __or__(self, other: "Trigger") -> "Trigger":
        return Either(self, other)

    def __and__(self, other: "Trigger") -> "Trigger":
        return Both(self, other)

    def __str__(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Joined(Trigger):
    """Base of two triggers joined.

    Attributes:
        left: The first trigger.
        right: The second one.

    Raises:
        ConfigurationError: Where a side is `Auto`.

    """

    left: Trigger
    right: Trigger

    def __post_init__(self) -> None:
        if self.left.is_auto or self.right.is_auto:
            raise ConfigurationError("auto is a trigger by itself: name all triggers to join them")

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

    def span_tokens(self, at: Position) -> int | None:
        """Return the length that the first side which fires gives."""
        return (self.left if self.left.fires(at) else self.right).span_tokens(at)

    def __str__(self) -> str:
        return f"({self.left.text_in_join()} | {self.right.text_in_join()})"


class Both(Joined):
    """Fires where both triggers do."""

    @property
    def opens_spans(self) -> bool:  # type: ignore[override]
        """Whether both sides may open a span."""
        return self.left.opens_spans and self.right.opens_spans

    def fires(self, at: Position) -> bool:
        """Return whether both sides fire."""
        return self.left.fires(at) and self.right.fires(at)

    def span_tokens(self, at: Position) -> int | None:
        """Return the length that the first side which knows one gives."""
        length = self.left.span_tokens(at)
        return self.right.span_tokens(at) if length is None else length

    def __str__(self) -> str:
        return f"({self.left.text_in_join()} & {self.right.text_in_join()})"

"""Triggers that look at the reply so far: its place, its steps, its words."""

import re
from dataclasses import dataclass

from splitreason_integrations.checks import check_number, check_text
from splitreason_integrations.decide.joined_text import number_text, quoted
from splitreason_integrations.decide.steps import begins_step, last_step
from splitreason_integrations.decide.triggers.base import Needs, Position, Trigger
from splitreason_integrations.decide.triggers.token_facts import check_above
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.patterns import compiled

JOINED_KEYWORD = re.compile(r'keyword:"(?:[^"]|"")*"\s*[|&]')
"""The beginning of a joined text whose first trigger is a keyword."""

_WIDE = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+|[^\w\s]+")
_WITHIN_WORD = re.compile(rf"[^\W{_WIDE}]{{2}}")
_LONGEST_WORD = 24
_LEAST_WORDS_OF_STEP = 4


@dataclass(frozen=True)
class Keyword(Trigger):
    """A rule: opens where the text written so far ends with a match.

    Attributes:
        pattern: A regular expression, matched against the end of the current line. It is searched
            in linear time, so it cannot look ahead or behind or refer back to a group.

    Raises:
        ConfigurationError: Where the pattern cannot be used or matches empty text.

    """

    pattern: str
    needs = Needs.TEXT

    def __post_init__(self) -> None:
        check_text("Keyword pattern", self.pattern)
        try:
            is_empty = compiled(self.pattern, at_end=True).found_in("")
        except ConfigurationError as error:
            raise ConfigurationError(f"Keyword {error}") from error
        if is_empty:
            raise ConfigurationError(f"Keyword pattern {self.pattern!r} matches empty text")

    def fires(self, at: Position) -> bool:
        """Return whether the pattern ends exactly here."""
        return compiled(self.pattern, at_end=True).found_in(at.line)

    def text_in_join(self) -> str:
        """Return the text with the pattern in quotes."""
        return f"keyword:{quoted(self.pattern)}"

    def __str__(self) -> str:
        alone = f"keyword:{self.pattern}"
        return f"({self.text_in_join()})" if JOINED_KEYWORD.match(alone) else alone


@dataclass(frozen=True)
class StepEntropy(Trigger):
    """Opens at the first token of a step where the small model is unsure of it.

    A step is a line or a sentence. GlimpRouter (arXiv 2601.05110) routes whole steps by the entropy
    of their first token.

    Attributes:
        above: Entropy of the step's first token in nats, above which a span opens.

    """

    above: float
    needs = Needs.ENTROPY | Needs.TEXT

    def __post_init__(self) -> None:
        check_above("StepEntropy above", self.above)

    def fires(self, at: Position) -> bool:
        """Return whether a step begins here with high entropy."""
        return at.entropy > self.above and begins_step(at.text, at.chosen)

    def __str__(self) -> str:
        return f"step-entropy>{number_text(self.above)}"


@dataclass(frozen=True)
class Loop(Trigger):
    """Opens where the reply repeats itself.

    TrigReason (arXiv 2604.14847) calls the large model where the small one's reasoning runs in
    circles. The reply's last 4,000 characters are searched.

    Attributes:
        words: How many words in a row make a repetition. Punctuation marks in a row are one word,
            and so is every Chinese or Japanese character.
        times: A span opens where the last `words` words occur for the `times`-th time, or the
            last step does, if it has four words or more.

    Raises:
        ConfigurationError: Where `words` is below 1 or `times` below 2.

    """

    words: int = 8
    times: int = 3
    needs = Needs.TEXT

    def __post_init__(self) -> None:
        check_number("Loop words", self.words, least=1, whole=True)
        check_number("Loop times", self.times, least=2, whole=True)

    def fires(self, at: Position) -> bool:
        """Return whether the last words, or the last step, occurred often enough."""
        text = at.text
        if _WITHIN_WORD.match(text[-1:] + at.chosen[:1]):
            return False
        if self._repeats(_last_words(text, self.words), text):
            return True
        if not begins_step(text, at.chosen):
            return False
        step = last_step(text)
        return len(_WORD.findall(step)) >= _LEAST_WORDS_OF_STEP and self._repeats(step, text)

    def _repeats(self, part: str, text: str) -> bool:
        return bool(part) and text.count(part) >= self.times

    def __str__(self) -> str:
        return "loop" if self == Loop() else f"loop:{self.words}x{self.times}"


@dataclass(frozen=True)
class Opening(Trigger):
    """The large model writes the beginning of the reply, and the small one goes on.

    TrigReason (arXiv 2604.14847) has the large model set the direction in this way.

    Attributes:
        tokens: Length of the span in tokens, unless a cap ends it before.

    Raises:
        ConfigurationError: Where `tokens` is below 1.

    """

    tokens: int = 64

    def __post_init__(self) -> None:
        check_number("Opening tokens", self.tokens, least=1, whole=True)

    def fires(self, at: Position) -> bool:
        """Return whether this is the reply's first token."""
        return at.index == 0

    def span_tokens(self, at: Position) -> int | None:
        """Return the span's length."""
        return self.tokens

    def __str__(self) -> str:
        return f"opening:{self.tokens}"


def _last_words(text: str, count: int) -> str:
    """Return the text from the `count`-th last word on; empty where there are fewer words."""
    text = text.rstrip()
    words = list(_WORD.finditer(text, max(0, len(text) - count * _LONGEST_WORD)))
    return text[words[-count].start() :] if len(words) >= count else ""

"""Who writes a reply, its parts, and its text by both."""

from dataclasses import dataclass
from enum import StrEnum


class Author(StrEnum):
    """Who wrote a piece of text."""

    SMALL = "small"
    """The small model."""
    LARGE = "large"
    """A large model."""
    HUMAN = "human"
    """A person."""


Writer = tuple[Author, int]
"""An author and the number of the model among the author's: there may be several large ones."""


class Channel(StrEnum):
    """The part of the reply that a piece of text belongs to."""

    REASONING = "reasoning"
    """The chain of thought."""
    ANSWER = "answer"
    """What the user reads."""
    TOOL_CALL = "tool_call"
    """A tool call."""


@dataclass(frozen=True, slots=True)
class TextRun:
    """Consecutive text of one author in one part of a reply.

    Attributes:
        author: Who wrote it; None where that is not known.
        channel: The part of the reply.
        text: The text.

    """

    author: Author | None
    channel: Channel
    text: str

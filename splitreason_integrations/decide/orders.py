"""What the request loop does next, as values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WriteSmall:
    """Let the small model write at most `max_tokens`; spans may open or not."""

    max_tokens: int
    may_open: bool


@dataclass(frozen=True, slots=True)
class WriteLarge:
    """Let the large model write at most `max_tokens`."""

    max_tokens: int


@dataclass(frozen=True, slots=True)
class CloseSpan:
    """End the span: a cap was reached."""

    cap: str


@dataclass(frozen=True, slots=True)
class CloseReasoning:
    """End the reasoning with at most `max_tokens`: it has as many tokens as it may have."""

    max_tokens: int


@dataclass(frozen=True, slots=True)
class AwaitAnswer:
    """Let the person who was asked answer."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the reply."""

    reason: str


Order = WriteSmall | WriteLarge | CloseSpan | CloseReasoning | AwaitAnswer | Finish

REASONING_CAP = "max_reasoning_tokens"
"""The cap at which the reasoning is ended."""

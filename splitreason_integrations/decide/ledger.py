"""What a request has used so far, and the room that a cap leaves: plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a request has used so far.

    `small`, `large` and `human` count kept reply tokens, `surplus` the large model's dropped
    ones, `span` the tokens of the open span and `span_s` its seconds, `gap` the small model's
    tokens since the last span, `unread` the tokens that the large model would have to read before
    it writes its next one. `ahead_usd` is the part of `usd` that it cost to have it read ahead.
    """

    small: int = 0
    large: int = 0
    human: int = 0
    surplus: int = 0
    spans: int = 0
    span: int = 0
    gap: int = 0
    unread: int = 0
    usd: float = 0.0
    ahead_usd: float = 0.0
    elapsed_s: float = 0.0
    span_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens the large model may still write, and the cap that says so."""

    tokens: int
    cap: str

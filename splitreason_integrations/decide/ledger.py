"""What a request has used so far, and the room that a cap leaves: plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a request has used so far.

    Attributes:
        small: kept tokens of the small model.
        large: kept tokens of the large model.
        human: kept tokens of people.
        surplus: dropped tokens of the large model.
        small_surplus: dropped tokens of the small model, which it wrote behind a span's opening.
        spans: how many spans have opened.
        span: tokens of the open span.
        gap: tokens of the small model since the last span.
        unread: tokens that the large model has to read before it writes its next one.
        usd: what the large model's tokens have cost.
        ahead_usd: the part of `usd` that was paid for reading while the small model wrote.
        ahead_tokens: tokens that the large model has read while the small one wrote.
        elapsed_s: seconds since the request began that count towards its deadline.
        span_s: seconds since the open span opened.

    """

    small: int = 0
    large: int = 0
    human: int = 0
    surplus: int = 0
    small_surplus: int = 0
    spans: int = 0
    span: int = 0
    gap: int = 0
    unread: int = 0
    usd: float = 0.0
    ahead_usd: float = 0.0
    ahead_tokens: int = 0
    elapsed_s: float = 0.0
    span_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens the large model may still write, and the cap that limits it."""

    tokens: int
    cap: str

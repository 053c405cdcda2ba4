"""What a request may cost. Caps are values; a cap that is reached is a reason to stop."""

import math
from dataclasses import dataclass, fields

from splitreason_integrations.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model's tokens cost, in USD per million tokens."""

    input_usd: float = 0.0
    output_usd: float = 0.0

    def cost_usd(self, *, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of that many tokens."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1_000_000


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a request has used so far.

    `small`, `large` and `human` count kept reply tokens, `surplus` the large model's dropped
    ones, `span` the tokens of the open span, `unread` the tokens that the large model would have
    to read before it writes its next one.
    """

    small: int = 0
    large: int = 0
    human: int = 0
    surplus: int = 0
    spans: int = 0
    span: int = 0
    unread: int = 0
    usd: float = 0.0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens the large model may still write, and the cap that says so."""

    tokens: int
    cap: str


_UNBOUNDED = Room(tokens=1 << 30, cap="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Caps on one request, enforced during the generation; None leaves a cap open.

    `max_offload_share` holds at every moment, not only at the end. `max_large_tokens` and
    `max_usd` count what the large model was paid for, the dropped surplus included. A span is not
    opened where fewer than `min_span_tokens` could be written. At `deadline_s` the request ends
    with what it has.
    """

    max_offload_share: float | None = None
    max_spans: int | None = None
    max_span_tokens: int | None = 256
    max_large_tokens: int | None = None
    max_usd: float | None = None
    deadline_s: float | None = None
    min_span_tokens: int = 8

    def __post_init__(self) -> None:
        for cap in fields(self):
            value = getattr(self, cap.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigurationError(f"{cap.name} must be 0 or more, got {value}")
        if self.max_offload_share is not None and self.max_offload_share > 1:
            raise ConfigurationError(
                f"max_offload_share is a share and must lie in [0, 1], got {self.max_offload_share}"
            )
        if self.min_span_tokens < 1:
            raise ConfigurationError(
                f"min_span_tokens must be 1 or more, got {self.min_span_tokens}"
            )

    def room(self, ledger: Ledger, prices: Prices) -> Room:
        """Return how many more tokens the large model may write now."""
        rooms = [
            _UNBOUNDED,
            self._count_room("max_span_tokens", ledger.span),
            self._count_room("max_large_tokens", ledger.large + ledger.surplus),
            self._share_room(ledger),
            self._usd_room(ledger, prices),
        ]
        return min(rooms, key=lambda room: room.tokens)

    def may_open(self, ledger: Ledger, prices: Prices) -> Room:
        """Return the room of a new span; 0 tokens where none may open."""
        if self.max_spans is not None and ledger.spans >= self.max_spans:
            return Room(0, "max_spans")
        if self.deadline_s is not None and ledger.elapsed_s >= self.deadline_s:
            return Room(0, "deadline_s")
        room = self.room(ledger, prices)
        return room if room.tokens >= self.least_span_tokens else Room(0, room.cap)

    @property
    def least_span_tokens(self) -> int:
        """The room below which a span is not opened: a cap below `min_span_tokens` lowers it."""
        caps = [cap for cap in (self.max_span_tokens, self.max_large_tokens) if cap]
        return min(self.min_span_tokens, *caps) if caps else self.min_span_tokens

    def small_tokens_until_open(self, ledger: Ledger) -> int | None:
        """Return how many small tokens make the share cap admit a span; None if no number does."""
        share = self.max_offload_share
        if share is None or share == 0 or share == 1:
            return None
        wanted = ledger.large + self.least_span_tokens
        return max(1, math.ceil(wanted / share - 1e-9) - wanted - ledger.small)

    def _count_room(self, cap: str, used: int) -> Room:
        limit = getattr(self, cap)
        return _UNBOUNDED if limit is None else Room(max(0, limit - used), cap)

    def _share_room(self, ledger: Ledger) -> Room:
        share = self.max_offload_share
        if share is None or share == 1:
            return _UNBOUNDED
        spare = (share * (ledger.small + ledger.large) - ledger.large) / (1 - share)
        return Room(max(0, math.floor(spare + 1e-9)), "max_offload_share")

    def _usd_room(self, ledger: Ledger, prices: Prices) -> Room:
        if self.max_usd is None:
            return _UNBOUNDED
        spare = self.max_usd - ledger.usd
        spare -= prices.cost_usd(input_tokens=ledger.unread, output_tokens=0)
        if spare < 0 or (spare == 0 and prices.output_usd > 0):
            return Room(0, "max_usd")
        if prices.output_usd == 0:
            return _UNBOUNDED
        return Room(math.floor(spare * 1_000_000 / prices.output_usd + 1e-9), "max_usd")

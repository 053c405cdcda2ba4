"""What a request may cost, and where a span may open. Caps that are reached are reasons to stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, ClassVar, Protocol, Self

from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.ledger import Ledger, Room
from splitreason_integrations.decide.policy_checks import check_policy
from splitreason_integrations.decide.pricing import ModelTerms, Prices
from splitreason_integrations.decide.rules import Rule, sooner
from splitreason_integrations.records import Channel

_UNBOUNDED = Room(tokens=1 << 30, cap="")


class PolicyFiles(Protocol):
    """Reads and writes policies as files, which this room of plain values does not do itself."""

    def load(self, path: str | PathLike[str]) -> "Policy":
        """Return the policy in a TOML file."""
        ...

    def template(self, name: str) -> "Policy":
        """Return a ready-made policy."""
        ...

    def to_toml(self, policy: "Policy") -> str:
        """Return the settings that differ from the defaults as a policy file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Caps on one request, enforced during the generation, and gates before a span.

    A cap of None is open. Raises SettingError, which names the setting.

    Attributes:
        summary: one line for the reader.
        allows: in words, what the policy allows; like the next three, it changes nothing.
        costs: in words, what a reply may cost.
        suits: in words, whom the policy suits.
        expect: in words, what to expect of replies.
        trigger: opens spans where nothing else is set, as `parse_trigger` reads it.
        close: ends spans where nothing else is set, as `parse_close` reads it.
        max_offload_share: large-model tokens ÷ all generated tokens, at every moment.
        max_spans: how many spans may open.
        max_span_tokens: tokens of one span.
        max_span_s: seconds after which a span ends, within one step of the model that writes.
        max_large_tokens: tokens of the large model, dropped ones included.
        max_reasoning_tokens: tokens of the reasoning, whoever writes them; it is then ended, and
            the answer written.
        max_usd: what the large model may cost, dropped tokens included.
        deadline_s: seconds after which the request ends with what it has.
        min_span_tokens: no span opens where fewer could be written.
        min_small_tokens: what the small model writes before the first span.
        min_gap_tokens: what the small model writes between two spans.
        only_in_reasoning: whether spans open in the chain of thought alone; the large model hands
            back at its end.
        ask_before: when a person is asked before a span is written.
        ask_after: when a person is asked about a written span.
        redact: what is hidden from large models on servers: email, phone, card, key, or phone:DE
            for a region's own numbers.
        rules: settings for requests with certain metadata; later rules win, and what they redact
            is added.
        models: prices and latency of large models by name, "*" for any other.

    """

    files: ClassVar[PolicyFiles]
    """Set by `settings.policy_files` when the package is imported."""

    summary: str = ""
    allows: str = ""
    costs: str = ""
    suits: str = ""
    expect: str = ""
    trigger: str | None = None
    close: str | None = None
    max_offload_share: float | None = None
    max_spans: int | None = None
    max_span_tokens: int | None = 256
    max_span_s: float | None = None
    max_large_tokens: int | None = None
    max_reasoning_tokens: int | None = None
    max_usd: float | None = None
    deadline_s: float | None = None
    min_span_tokens: int = 8
    min_small_tokens: int = 0
    min_gap_tokens: int = 0
    only_in_reasoning: bool = False
    ask_before: AskRule | None = None
    ask_after: AskRule | None = None
    redact: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    models: Mapping[str, ModelTerms] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_policy(self)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Policy":
        """Return the policy in a TOML file; a ConfigurationError names the line and the remedy."""
        return cls.files.load(path)

    @classmethod
    def template(cls, name: str) -> "Policy":
        """Return a ready-made policy.

        `cost-first`, `balanced`, `quality-first`, `regulated`, or `untaught` for a small model that
        was not trained to offload.
        """
        return cls.files.template(name)

    def to_toml(self) -> str:
        """Return the settings that differ from the defaults as a policy file."""
        return self.files.to_toml(self)

    def for_request(self, metadata: Mapping[str, str]) -> Self:
        """Return the policy of a request with these metadata: all rules that apply, in order."""
        changes: dict[str, Any] = {}
        for rule in self.rules:
            if rule.applies(metadata):
                # What may not leave is never less than what the policy says for all.
                hidden = (*changes.get("redact", self.redact), *rule.set.get("redact", ()))
                changes |= {**rule.set, "redact": tuple(dict.fromkeys(hidden))}
        return replace(self, **changes) if changes else self

    def within(self, deadline_s: float) -> Self:
        """Return the policy with no later deadline than this, whatever its rules say."""
        rules = tuple(rule.within(deadline_s) for rule in self.rules)
        return replace(self, rules=rules, deadline_s=sooner(self.deadline_s, deadline_s))

    def with_less_reasoning(self, max_reasoning_tokens: int | None) -> Self:
        """Return the policy with no larger cap on the reasoning than this; None leaves its own."""
        caps = (max_reasoning_tokens, self.max_reasoning_tokens)
        least = min((cap for cap in caps if cap is not None), default=None)
        return replace(self, max_reasoning_tokens=least)

    def prices_of(self, model: str, own: Prices) -> Prices:
        """Return what a large model's tokens cost: its own prices, else those known by its name."""
        terms = self.models.get(model) or self.models.get("*")
        return terms.prices if own == Prices() and terms and terms.prices else own

    @property
    def forbids_spans(self) -> bool:
        """Whether a cap of 0 keeps every span from opening, so that no large model is needed."""
        caps = (self.max_offload_share, self.max_spans, self.max_span_tokens, self.max_large_tokens)
        return 0 in caps

    def room(self, ledger: Ledger, prices: Prices) -> Room:
        """Return how many more tokens the large model may write now."""
        rooms = [
            _UNBOUNDED,
            self._count_room("max_span_tokens", ledger.span),
            self._time_room(ledger),
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
        limits = (self.max_span_tokens, self.max_large_tokens, self.max_reasoning_tokens)
        caps = [cap for cap in limits if cap]
        return min(self.min_span_tokens, *caps) if caps else self.min_span_tokens

    def opens_in(self, channel: Channel | None) -> bool:
        """Return whether a span may be in this part of the reply; None where none has begun."""
        return not self.only_in_reasoning or channel is Channel.REASONING

    def gate_tokens(self, ledger: Ledger) -> int:
        """Return how many tokens the small model has to write before a gate lets a span open."""
        gap = self.min_gap_tokens - ledger.gap if ledger.spans else 0
        return max(0, self.min_small_tokens - ledger.small, gap)

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

    def _time_room(self, ledger: Ledger) -> Room:
        late = self.max_span_s is not None and ledger.span_s >= self.max_span_s
        return Room(0, "max_span_s") if late else _UNBOUNDED

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

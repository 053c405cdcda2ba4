"""Rules that decide whether a person is asked about a handoff."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from splitreason_integrations.checks import check_number, check_text, check_texts
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.patterns import compiled
from splitreason_integrations.sampling import uniform

_STREAM = 0x61736B


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A handoff that a person may be asked about, before its span is written or after.

    Attributes:
        request_id: The request's id.
        span: The span's number within the request, from 0.
        seed: The request's seed.
        offload_share: Share of the large model in the tokens so far, in [0, 1].
        cost_usd: Cost of the request so far, in USD.
        text: Before the span, the reply so far; afterwards, what the large model wrote.
        metadata: The request's metadata.

    """

    request_id: str
    span: int
    seed: int
    offload_share: float
    cost_usd: float
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRule:
    """Conditions under which a person is asked; all that are given must hold.

    Without any condition a person is asked about every handoff.

    Attributes:
        min_offload_share: Least share of the large model in the tokens so far, in [0, 1].
        min_usd: Least cost of the request so far, in USD.
        pattern: A regular expression that must be found anywhere in the text. It is searched in
            linear time, so it cannot look ahead or behind or refer back to a group.
        metadata: Names and values that the request's metadata must have.
        sample_rate: Share of the handoffs that fulfil all else, in [0, 1], drawn by the request's
            seed and the span's number: a replay asks about the same ones.

    Raises:
        SettingError: Where a value is out of range or the pattern cannot be used.

    """

    min_offload_share: float | None = None
    min_usd: float | None = None
    pattern: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.min_offload_share is not None:
            check_number("min_offload_share", self.min_offload_share, most=1)
        if self.min_usd is not None:
            check_number("min_usd", self.min_usd)
        if self.pattern is not None:
            _check_pattern(self.pattern)
        check_texts("metadata", self.metadata)
        check_number("sample_rate", self.sample_rate, most=1)

    def asks(self, facts: Handover) -> bool:
        """Return whether a person is to be asked."""
        return (
            (self.min_offload_share is None or facts.offload_share >= self.min_offload_share)
            and (self.min_usd is None or facts.cost_usd >= self.min_usd)
            and (self.pattern is None or compiled(self.pattern).found_in(facts.text))
            and self.metadata.items() <= facts.metadata.items()
            and uniform(facts.seed, _STREAM, facts.span) < self.sample_rate
        )


def _check_pattern(pattern: object) -> None:
    check_text("pattern", pattern)
    try:
        compiled(str(pattern))
    except ConfigurationError as error:
        raise SettingError(str(error), ("pattern",)) from error

"""When a person is to be asked about a handoff: a value that says yes or no, and no more."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from splitreason_integrations.checks import check_number, check_text, check_texts
from splitreason_integrations.errors import SettingError
from splitreason_integrations.sampling import uniform

_STREAM = 0x61736B


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What is known where a person may be asked: before a span is written, or after it.

    `span` is the span's number, from 0. `offload_share` and `cost_usd` are the request's so far;
    `text` is what is to be handed over, or what came back.
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

    `pattern` is a regular expression to be found anywhere in the text, `metadata` what the
    request's must say. Of the handovers that fulfil all of it, the share `sample_rate` is asked
    about, chosen by the request's seed and the span's number: a replay asks about the same ones.
    Without any condition every handover is asked about.
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
            and (self.pattern is None or re.search(self.pattern, facts.text) is not None)
            and self.metadata.items() <= facts.metadata.items()
            and uniform(facts.seed, _STREAM, facts.span) < self.sample_rate
        )


def _check_pattern(pattern: object) -> None:
    check_text("pattern", pattern)
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise SettingError(
            f"pattern {pattern!r} is no regular expression: {error}; put a backslash before signs "
            "that stand for themselves",
            ("pattern",),
        ) from error

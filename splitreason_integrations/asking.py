"""When a person is to be asked. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Facts."""

    request_id: str
    span: int
    seed: int
    offload_share: float
    cost_usd: float
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRule:
    """Rule."""

    def asks(self, facts: Handover) -> bool:
        """Return."""
        return True

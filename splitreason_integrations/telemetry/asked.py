"""What telemetry knows of a request when it begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.loop.snapshot import TELEMETRY_KEY
from splitreason_integrations.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, the models' names as they may be shown, and what it goes on from.

    `state` is that of a request that was put aside; with `replay` its stream begins with the reply
    as far as it was told before.
    """

    request: Request
    small: str
    pair: str
    trigger: str
    state: Mapping[str, Any] | None = None
    replay: bool = False

    @property
    def kept(self) -> Mapping[str, Any]:
        """What the request kept when it was put aside; it has been in other hands since."""
        kept = self.state.get(TELEMETRY_KEY) if self.state else None
        return kept if isinstance(kept, Mapping) else {}

    @property
    def retold_tokens(self) -> int:
        """How many tokens of the stream were told before."""
        if self.state is None or not self.replay:
            return 0
        return sum(len(ids) for _, _, ids in self.state["pieces"])

"""What telemetry knows of a request when it begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.loop.snapshot import TELEMETRY_KEY
from splitreason_integrations.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """A request and the models that answer it.

    Attributes:
        request: the request itself.
        small: public name of the small model.
        pair: public name of both models.
        trigger: the trigger as text.
        state: saved state of a request that was paused before; None for a new one.
        replay: whether the stream begins with the reply that the caller may have seen before.

    """

    request: Request
    small: str
    pair: str
    trigger: str
    state: Mapping[str, Any] | None = None
    replay: bool = False

    @property
    def saved_context(self) -> Mapping[str, Any]:
        """What telemetry saved when the request was paused; others could have changed it since."""
        saved = self.state.get(TELEMETRY_KEY) if self.state else None
        return saved if isinstance(saved, Mapping) else {}

    @property
    def replayed_tokens(self) -> int:
        """How many tokens at the start of the stream were reported before the pause."""
        if self.state is None or not self.replay:
            return 0
        return sum(len(ids) for _, _, ids in self.state["pieces"])

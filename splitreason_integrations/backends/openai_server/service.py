"""What the sessions of a model on servers need of it."""

from collections.abc import Collection
from typing import Protocol

from splitreason_integrations.backends.lookahead import DraftStats
from splitreason_integrations.backends.openai_server.dialects import Dialect
from splitreason_integrations.backends.openai_server.refusals import LeftOut
from splitreason_integrations.backends.openai_server.replicas import Replica, Replicas
from splitreason_integrations.backends.refusal import Refusal
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling


class Service(Protocol):
    """What a session needs of its model."""

    name: str
    codec: Codec
    context_tokens: int
    default_sampling: Sampling
    draft_stats: DraftStats
    no_grammars: Refusal
    replicas: Replicas

    @property
    def dialect(self) -> Dialect | None:
        """How the servers are spoken to; None before it is found."""
        ...

    async def find_dialect(self, replica: Replica) -> Dialect:
        """Return the best dialect that a server speaks; raise ModelCallError."""
        ...

    def check_taken(self, missing: Collection[LeftOut], sampling: Sampling) -> None:
        """Raise RequestError if a server does not take what a request must have."""
        ...

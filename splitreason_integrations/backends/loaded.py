"""What loaded models of all backends have: their settings and their open sessions."""

from typing import Generic, TypeVar
from weakref import WeakSet

from splitreason_integrations.backends.sequence import TokenSequence
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import SessionError
from splitreason_integrations.processes.children import PerProcess
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling

S = TypeVar("S", bound=TokenSequence)


class LoadedModel(Generic[S]):
    """A model that keeps sessions; see `Model` for its attributes.

    Attributes:
        is_closed: whether it was released and opens no session any more.

    """

    unknown_sampling: frozenset[str] = frozenset()
    remote = False
    resumes = False

    def __init__(
        self,
        codec: Codec,
        *,
        name: str,
        context_tokens: int,
        prices: Prices | None = None,
        hint: str | None = None,
        taught: bool | None = None,
        default_sampling: Sampling | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self.prices = prices or Prices()
        self.hint = hint
        self.taught = taught
        self.context_tokens = context_tokens
        self.default_sampling = default_sampling or Sampling(temperature=0.0)
        self.is_closed = False
        self._sessions = PerProcess[WeakSet[S]](WeakSet)

    @property
    def open_sessions(self) -> int:
        """How many sessions still take memory or requests of the model."""
        return sum(session.holds_cache for session in self._sessions.value)

    def close(self) -> None:
        """Free what the model holds; use `splitreason_integrations.release`, which checks first."""
        self.is_closed = True

    def _check_not_closed(self) -> None:
        if self.is_closed:
            raise SessionError(f"{self.name} was released; load it again by its spec")

    def _counted(self, session: S) -> S:
        """Return a new session; it counts as open while it is."""
        self._sessions.value.add(session)
        return session

"""Models behind OpenAI-compatible servers: `/completions` with token ids both ways."""

import weakref
from collections.abc import Sequence

from splitreason_integrations.backends.base import Codec
from splitreason_integrations.backends.openai_server_replicas import Replicas
from splitreason_integrations.backends.openai_server_session import ServerSession
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.terms import Prices


class ServerModel:
    """A model behind a server. `vocabulary` is how many token ids it may answer with."""

    remote = True
    resumes = False
    shows_logits = False

    def __init__(
        self,
        replicas: Replicas,
        codec: Codec,
        *,
        model: str,
        name: str,
        vocabulary: int,
        context_tokens: int,
        prices: Prices | None = None,
        hint: str | None = None,
        default_sampling: Sampling | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self.prices = prices or Prices()
        self.hint = hint
        self.context_tokens = context_tokens
        self.default_sampling = default_sampling or Sampling(temperature=0.0)
        self.vocabulary = vocabulary
        self.replicas = replicas
        self.model = model
        self._sessions: weakref.WeakSet[ServerSession] = weakref.WeakSet()

    @property
    def open_sessions(self) -> int:
        """How many sessions may still ask the server for something."""
        return sum(session.is_open for session in self._sessions)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> "ServerSession":
        """Start a session with a prompt, and what stands behind it; nothing is asked yet."""
        session = ServerSession(self, prompt, written)
        self._sessions.add(session)
        return session

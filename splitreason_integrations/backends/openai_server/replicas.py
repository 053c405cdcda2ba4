"""Several servers of one model: the least loaded one is asked, one that failed rests a while."""

import time
from collections.abc import Sequence

from splitreason_integrations.backends.openai_server.http import Server

_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0
_WORTH_OF_A_CACHE = 2
"""By how many calls another server must be less loaded than the one that read a sequence before."""


class Replica:
    """One server, with how many calls it has to answer now and how it did lately."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls = 0
        self._failures = 0
        self.rests_until_s = 0.0

    @property
    def rests(self) -> bool:
        """Whether the server failed just now."""
        return time.monotonic() < self.rests_until_s

    def failed(self) -> None:
        """Let the server rest, the longer the more often in a row it failed."""
        rest_s = min(_FIRST_REST_S * 2.0**self._failures, _LONGEST_REST_S)
        self._failures = min(self._failures + 1, 10)
        self.rests_until_s = time.monotonic() + rest_s

    def answered(self) -> None:
        """Note that the server answers."""
        self._failures, self.rests_until_s = 0, 0.0


class Replicas:
    """The servers of one model."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.all = [Replica(server) for server in servers]

    @property
    def one_is_ready(self) -> bool:
        """Whether a server is there that did not fail just now."""
        return not all(replica.rests for replica in self.all)

    def choose(self, last: Replica | None = None) -> Replica:
        """Return whom to ask next for a sequence that `last` was asked for before."""
        ready = [replica for replica in self.all if not replica.rests]
        if not ready:
            return min(self.all, key=lambda replica: replica.rests_until_s)
        return min(ready, key=lambda one: one.calls - _WORTH_OF_A_CACHE * (one is last))

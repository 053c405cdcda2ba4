"""The servers of one model: the least loaded one is asked, one that failed rests a while."""

import time
from collections.abc import Sequence

from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.refusals import Lessons
from splitreason_integrations.processes.children import after_fork

_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0
_CALLS_A_CACHE_SAVES = 2
"""By how many calls another server must be less loaded to replace one with a sequence cached."""


class Replica:
    """One server, its load and its recent failures.

    Attributes:
        lessons: what it is known not to take.
        calls: how many calls it has to answer now.
        rests_until_s: when it is asked again, a time of `time.monotonic()`.

    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lessons = Lessons()
        self.calls = 0
        self._failures = 0
        self.rests_until_s = 0.0
        after_fork(self._forget_calls)

    def _forget_calls(self) -> None:
        self.calls = 0

    @property
    def rests(self) -> bool:
        """Whether the server failed recently."""
        return time.monotonic() < self.rests_until_s

    def failed(self) -> None:
        """Let the server rest, longer with each failure in a row."""
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
        """Whether a server has not failed recently."""
        return not all(replica.rests for replica in self.all)

    def choose(self, last: Replica | None = None) -> Replica:
        """Return the server to ask next for a sequence; `last` read it before."""
        ready = [replica for replica in self.all if not replica.rests]
        if not ready:
            return min(self.all, key=lambda replica: replica.rests_until_s)
        return min(ready, key=lambda one: one.calls - _CALLS_A_CACHE_SAVES * (one is last))

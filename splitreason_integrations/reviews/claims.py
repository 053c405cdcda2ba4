"""A claim: one answered request that only one worker continues."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from splitreason_integrations.errors import ReviewError, ReviewPendingError
from splitreason_integrations.humans.human import Answer, Paused
from splitreason_integrations.reviews import database

_RENEWALS = 3
"""How often a claim is renewed within its lease."""


class Claim:
    """An answered request to continue, in a `with` block that renews the claim.

    At the end of the block the request is finished. A further question goes into the queue and
    ends the block. Any other error returns the request to the queue.
    """

    def __init__(
        self, path: Path, paused: Paused, answer: Answer, *, holder: str, lease_s: float
    ) -> None:
        self.paused = paused
        self.answer = answer
        self._path = path
        self._holder = holder
        self._lease_s = lease_s
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="splitreason-claim", daemon=True)

    @property
    def request_id(self) -> str:
        """The id of the request."""
        return self.paused.question.request_id

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._over.set()
        self._renewing.join()
        if error is None:
            self._finish()
            return False
        asks_again = isinstance(error, ReviewPendingError) and self._has_gone_on()
        if not asks_again:
            self._give_back()
        return asks_again

    def _renew(self) -> None:
        while not self._over.wait(self._lease_s / _RENEWALS):
            # One renewal may fail; where all do, the end of the block says that the claim ran out.
            with suppress(ReviewError), database.opened(self._path) as rows:
                rows.execute(
                    "UPDATE questions SET held_until = ? WHERE id = ? AND holder = ?",
                    (time.time() + self._lease_s, self.paused.question.id, self._holder),
                )

    def _finish(self) -> None:
        """Erase the request; raise ReviewError if another worker has claimed it meanwhile."""
        with database.opened(self._path) as rows:
            ended = rows.execute(
                "UPDATE questions SET status = 'resumed', paused = NULL "
                "WHERE id = ? AND holder = ?",
                (self.paused.question.id, self._holder),
            )
            if not ended.rowcount:
                raise ReviewError(
                    f"the claim on request {self.request_id} ran out (lease_s={self._lease_s:g}) "
                    "and another worker took it: leave this reply to that one"
                )

    def _has_gone_on(self) -> bool:
        """Return whether a further question of the request is in the queue."""
        with database.opened(self._path) as rows:
            found = rows.execute(
                "SELECT 1 FROM questions WHERE id = ? AND holder = ? AND status = 'resumed'",
                (self.paused.question.id, self._holder),
            )
            return found.fetchone() is not None

    def _give_back(self) -> None:
        with database.opened(self._path) as rows:
            rows.execute(
                "UPDATE questions SET holder = NULL, held_until = NULL "
                "WHERE id = ? AND holder = ? AND status = 'answered'",
                (self.paused.question.id, self._holder),
            )

"""A request's items, told to tracing and metering; whatever fails there ends there."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from splitreason_integrations.humans.human import Paused
from splitreason_integrations.records import Completion, Delta
from splitreason_integrations.telemetry.asked import Asked
from splitreason_integrations.telemetry.instruments import Signals
from splitreason_integrations.telemetry.metering import Metering
from splitreason_integrations.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)


class TelemetryAccount:
    """Follows one request to its end, or to a failure of telemetry itself, which is logged."""

    def __init__(self, signals: Signals, asked: Asked, *, content: bool) -> None:
        self._asked = asked
        self._tracing = Tracing(signals.tracer, asked, content=content)
        self._metering = Metering(signals.instruments, asked)
        self._retold_tokens = 0
        self._over = False

    def to_keep(self) -> dict[str, Any]:
        """Return what a request that is put aside now keeps for its continuation."""
        return {"asked_unix_s": time.time(), **self._tracing.carrier()}

    async def started(self) -> None:
        """Begin the request's span."""
        self._guarded(self._start)

    def working(self) -> AbstractContextManager[object]:
        """Return what makes the innermost span the current one, for clients that trace, too."""
        return self._tracing.current

    async def note(self, item: object) -> None:
        """Tell of an item."""
        self._guarded(self._note, item)

    async def ended_early(self, error: BaseException) -> None:
        """End what is open."""
        self._guarded(self._end_early, error)

    def _start(self) -> None:
        self._retold_tokens = self._asked.retold_tokens
        self._tracing.start()
        self._metering.start()

    def _note(self, item: object) -> None:
        if isinstance(item, Delta) and self._retold_tokens > 0:
            self._retold_tokens -= len(item.token_ids)
            return
        self._over = isinstance(item, Completion | Paused)
        self._tracing.note(item)
        self._metering.note(item)

    def _end_early(self, error: BaseException) -> None:
        self._tracing.end_early(error)
        self._metering.end_early(error)

    def _guarded(self, tell: Callable[..., None], *what: object) -> None:
        if self._over:
            return
        try:
            tell(*what)
        except Exception:  # noqa: BLE001 - what watches a request never breaks it
            self._over = True
            _log.exception("no more telemetry of request %s", self._asked.request.request_id)

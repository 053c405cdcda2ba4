"""Shows a request's items to tracing and metering; no failure there reaches the request."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from splitreason_integrations.humans.human import Paused
from splitreason_integrations.records import Completion, Delta
from splitreason_integrations.telemetry.instruments import Signals
from splitreason_integrations.telemetry.metering import Metering
from splitreason_integrations.telemetry.request_facts import RequestFacts
from splitreason_integrations.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)


class TelemetryObserver:
    """Observes one request until it ends, or until telemetry itself fails, which is logged."""

    def __init__(self, signals: Signals, facts: RequestFacts, *, content: bool) -> None:
        self._facts = facts
        self._tracing = Tracing(signals.tracer, facts, content=content)
        self._metering = Metering(signals.instruments, facts)
        self._replayed_tokens = 0
        self._over = False

    def saved_context(self) -> dict[str, Any]:
        """Return what a paused request saves so that its continuation joins the same trace."""
        return {"asked_unix_s": time.time(), **self._tracing.carrier()}

    async def started(self) -> None:
        """Begin the request's span."""
        self._guarded(self._start)

    def working(self) -> AbstractContextManager[object]:
        """Return a context in which the innermost span is current, for clients that also trace."""
        return self._tracing.current

    async def note(self, item: object) -> None:
        """Trace and count an item."""
        self._guarded(self._observe, item)

    async def ended_early(self, error: BaseException) -> None:
        """End the open spans; called on error, cancellation or early close."""
        self._guarded(self._end_early, error)

    def _start(self) -> None:
        self._replayed_tokens = self._facts.replayed_tokens
        self._tracing.start()
        self._metering.start()

    def _observe(self, item: object) -> None:
        if isinstance(item, Delta) and self._replayed_tokens > 0:
            self._replayed_tokens -= len(item.token_ids)
            return
        self._over = isinstance(item, Completion | Paused)
        self._tracing.observe(item)
        self._metering.observe(item)

    def _end_early(self, error: BaseException) -> None:
        self._tracing.end_early(error)
        self._metering.end_early(error)

    def _guarded(self, report: Callable[..., None], *arguments: object) -> None:
        if self._over:
            return
        try:
            report(*arguments)
        except Exception:  # noqa: BLE001 - telemetry never breaks a request
            self._over = True
            _log.exception("no more telemetry of request %s", self._facts.request.request_id)

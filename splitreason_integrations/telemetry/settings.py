"""Where telemetry goes, and who observes a request for it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from splitreason_integrations.backends.registry import pair_name, public_name
from splitreason_integrations.request import Request
from splitreason_integrations.telemetry.request_facts import RequestFacts

if TYPE_CHECKING:
    from splitreason_integrations.telemetry.observer import TelemetryObserver

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where spans and metrics go.

    Nothing is recorded if `opentelemetry-api` is not installed or no provider is set up.

    Attributes:
        tracer_provider: takes spans; None for OpenTelemetry's global provider.
        meter_provider: takes metrics; None for OpenTelemetry's global provider.
        content: whether spans hold messages, replies, spans' texts and errors' messages.

    """

    tracer_provider: Any = None
    meter_provider: Any = None
    content: bool = False

    def observer(
        self,
        engine: Any,
        request: Request,
        *,
        state: Mapping[str, Any] | None = None,
        replay: bool = False,
    ) -> "TelemetryObserver | None":
        """Return the observer of a request; None if OpenTelemetry is not installed or fails.

        The request's span becomes a child of the span that is current now.

        Args:
            engine: a `SplitEngine`; its models and trigger are named.
            request: the request that begins.
            state: saved state of a request that was paused before.
            replay: whether the stream begins with the reply before the pause.

        """
        if not _is_installed():
            return None
        from splitreason_integrations.telemetry.instruments import signals_of
        from splitreason_integrations.telemetry.observer import TelemetryObserver

        small = public_name(engine.small)
        facts = RequestFacts(
            request=request,
            small=small,
            pair=pair_name(small, public_name(engine.large)),
            trigger=str(engine.trigger),
            state=state,
            replay=replay,
        )
        try:
            signals = signals_of(self.tracer_provider, self.meter_provider)
            return TelemetryObserver(signals, facts, content=self.content)
        except Exception:  # noqa: BLE001 - telemetry never breaks a request
            _log.exception("no telemetry of request %s", request.request_id)
            return None


@cache
def _is_installed() -> bool:
    """Return whether there is an OpenTelemetry API; the extra `otel` installs it."""
    try:
        import opentelemetry.metrics
        import opentelemetry.trace  # noqa: F401
    except ImportError:
        return False
    return True

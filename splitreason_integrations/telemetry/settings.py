"""Where telemetry goes, and the account that it keeps of a request."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from splitreason_integrations.backends.registry import pair_name, public_name
from splitreason_integrations.request import Request
from splitreason_integrations.telemetry.asked import Asked

if TYPE_CHECKING:
    from splitreason_integrations.telemetry.account import TelemetryAccount

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where spans and metrics go: without providers, to OpenTelemetry's global ones.

    Where `opentelemetry-api` is not installed, or no provider is set up, nothing is recorded.
    With `content` spans hold the messages, the reply, the spans' texts and the errors' messages.
    """

    tracer_provider: Any = None
    meter_provider: Any = None
    content: bool = False

    def account(
        self,
        engine: Any,
        request: Request,
        *,
        state: Mapping[str, Any] | None = None,
        replay: bool = False,
    ) -> "TelemetryAccount | None":
        """Return what follows a request of an engine; None where there is nobody to tell.

        Its span becomes a child of the one that is current now. `state` is that of a request that
        was put aside; with `replay` its stream begins with what was told before.
        """
        if not _is_installed():
            return None
        from splitreason_integrations.telemetry.account import TelemetryAccount
        from splitreason_integrations.telemetry.instruments import signals_of

        small = public_name(engine.small)
        asked = Asked(
            request=request,
            small=small,
            pair=pair_name(small, public_name(engine.large)),
            trigger=str(engine.trigger),
            state=state,
            replay=replay,
        )
        try:
            signals = signals_of(self.tracer_provider, self.meter_provider)
            return TelemetryAccount(signals, asked, content=self.content)
        except Exception:  # noqa: BLE001 - what watches requests never breaks one
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

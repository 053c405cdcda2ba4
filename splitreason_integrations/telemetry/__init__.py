"""OpenTelemetry: a request as spans and metrics, from the same items that its caller sees.

Nothing here is loaded before the first request, and nothing here can make one fail.
"""

from splitreason_integrations.telemetry.settings import Telemetry

__all__ = ["Telemetry"]

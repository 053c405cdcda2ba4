"""OpenTelemetry: a request as spans and metrics, from the items that its caller sees.

OpenTelemetry is imported by the first request, and no failure of it makes a request fail.
"""

from splitreason_integrations.telemetry.settings import Telemetry

__all__ = ["Telemetry"]

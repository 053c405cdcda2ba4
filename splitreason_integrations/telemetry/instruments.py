"""The tracer and the metric instruments, made once for each pair of providers."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from opentelemetry import metrics, trace

from splitreason_integrations.telemetry import names

SCOPE = "splitreason_integrations"
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_CHUNK_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5, 10)
_PEOPLE_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
_TOKENS = tuple(4**power for power in range(14))
_SHARES = (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1)


@dataclass(frozen=True, slots=True)
class Instruments:
    """The metric instruments. Money is in USD, time in seconds."""

    operation_duration: metrics.Histogram
    time_to_first_chunk: metrics.Histogram
    token_usage: metrics.Histogram
    requests: metrics.Counter
    tokens: metrics.Counter
    cost: metrics.Counter
    offload_share: metrics.Histogram
    handoff_latency: metrics.Histogram
    retries: metrics.Counter
    failures: metrics.Counter
    fallbacks: metrics.Counter
    human_wait: metrics.Histogram
    exhausted: metrics.Counter
    read_ahead: metrics.Counter
    small_surplus: metrics.Counter


@dataclass(frozen=True, slots=True)
class Signals:
    """The tracer and the instruments of one pair of providers.

    Attributes:
        tracer: makes spans.
        instruments: record metrics.

    """

    tracer: trace.Tracer
    instruments: Instruments


@cache
def signals_of(tracer_provider: Any, meter_provider: Any) -> Signals:
    """Return the tracer and instruments of two providers; None is the global provider.

    Global providers can be set up later.
    """
    from splitreason_integrations import __version__

    return Signals(
        trace.get_tracer(SCOPE, __version__, tracer_provider),
        _instruments(metrics.get_meter(SCOPE, __version__, meter_provider)),
    )


def _instruments(meter: metrics.Meter) -> Instruments:
    def histogram(
        name: str, unit: str, description: str, bounds: tuple[float, ...]
    ) -> metrics.Histogram:
        return meter.create_histogram(
            name, unit, description, explicit_bucket_boundaries_advisory=bounds
        )

    count = meter.create_counter
    return Instruments(
        histogram(names.OPERATION_DURATION, "s", "Time of a request", _SECONDS),
        histogram(names.TIME_TO_FIRST_CHUNK, "s", "Time to a request's first text", _FIRST_CHUNK_S),
        histogram(names.TOKEN_USAGE, "{token}", "Tokens that a request read and wrote", _TOKENS),
        count("splitreason.requests", "{request}", "Requests, by how they ended"),
        count("splitreason.tokens", "{token}", "Reply tokens, by author"),
        count("splitreason.cost_usd", "{USD}", "Cost, by author"),
        histogram("splitreason.offload_share", "1", "Large model's share of a reply", _SHARES),
        histogram("splitreason.handoff.latency", "s", "Time of a handoff", _SECONDS),
        count("splitreason.handoff.retries", "{retry}", "Large model's calls made again"),
        count("splitreason.handoff.failures", "{failure}", "Large models that failed for good"),
        count("splitreason.handoff.fallbacks", "{fallback}", "Models that went on instead"),
        histogram("splitreason.human.wait", "s", "Time that a person took to answer", _PEOPLE_S),
        count("splitreason.budget.exhausted", "{cap}", "Caps of the policy that were reached"),
        count("splitreason.read_ahead_tokens", "{token}", "Read by the large model meanwhile"),
        count("splitreason.small_surplus_tokens", "{token}", "Dropped behind a span's opening"),
    )

"""OpenTelemetry's spans and metrics of one request over two servers; no torch."""

import asyncio
import sys

from modules import import_all
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_tracer_provider
from questions import NUMBER, WORDS

from splitreason_integrations import Request, SplitEngine


def main(small: str, large: str) -> None:
    """Answer, and look at what was traced and metered."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    set_tracer_provider(provider)
    set_meter_provider(MeterProvider([reader]))
    engine = SplitEngine(small=f"{small}#large", large=f"{large}#large")
    messages = [{"role": "user", "content": WORDS}]
    whole = asyncio.run(engine.complete(Request(messages=messages, max_tokens=400)))
    assert NUMBER in whole.answer, whole
    assert len(spans.get_finished_spans()) > len(whole.spans) > 0
    assert reader.get_metrics_data().resource_metrics
    import_all(without={"torch", "phonenumbers", "langchain_core", "llama_index.core"})


if __name__ == "__main__":
    main(*sys.argv[1:])

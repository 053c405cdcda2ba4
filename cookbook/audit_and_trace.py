"""Who decided what, and where the time went: audit log, its report, OpenTelemetry spans.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
Needs: pip install opentelemetry-sdk (your program exports spans with an exporter of its choice).
"""

from pathlib import Path
from tempfile import mkdtemp

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_tracer_provider

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.audit import verify
from splitreason_integrations.audit.history import load
from splitreason_integrations.audit.page import render

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
set_tracer_provider(provider)  # this alone switches tracing on

log = Path(mkdtemp(), "audit.jsonl")
llm = SplitReasonLLM(audit=log, seed=1)
question = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
llm.invoke(question, audit=None, telemetry=False)  # loads the weights, without a record
with provider.get_tracer("app").start_as_current_span("answer a customer"):
    reply = llm.invoke(question)

depths = {None: -1}
for span in sorted(spans.get_finished_spans(), key=lambda one: one.start_time):
    around = span.parent.span_id if span.parent else None
    depths[span.context.span_id] = depth = depths[around] + 1
    tokens = span.attributes.get("splitreason.tokens", "")
    milliseconds = (span.end_time - span.start_time) / 1e6
    print(f"{milliseconds:8.1f} ms {tokens:>4} {'  ' * depth}{span.name}")

print()
history = load(log)
for record in history.requests[0].records:
    print(f"{record.sequence:>2} {record.kind:32} {record.hash[:12]}")
report = log.with_suffix(".html")
report.write_text(render(history, name=log.name), "utf-8")
checked = verify(log)
print(f"\n{checked.records} records, unchanged: {checked.ok}; for people: {report}")
facts = reply.response_metadata["splitreason"]
print(f"{reply.content} {facts['offload_share']:.0%} by the large model, {facts['cost_usd']} USD")

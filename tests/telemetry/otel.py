"""OpenTelemetry's in-memory exporters, and engines that report to them."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from splitreason_integrations import Prices, Retry, SplitEngine, Telemetry
from splitreason_integrations.testing import ScriptedModel

SMALL = "One.<bigmodel> Two.<bigmodel> Three.</think>\n\nFour"
LARGE = " a b c.</bigmodel> d e f.</bigmodel>"
QUICK = Retry(wait_s=0.0, max_wait_s=0.0)
CHAT = "chat splitreason/little+big"


class Later:
    """Answers in days to come."""

    async def review(self, paused):
        return None


class Received:
    """What exporters received, all of it."""

    def __init__(self, *readers):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader, *readers])

    def telemetry(self, **more):
        return Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **more)

    @property
    def spans(self):
        """The finished spans in the order in which they began; outer before inner ones."""
        finished = {span.context.span_id: span for span in self.exporter.get_finished_spans()}

        def place(span):
            depth, around = 0, span.parent
            while around is not None and around.span_id in finished:
                depth, around = depth + 1, finished[around.span_id].parent
            return span.start_time, depth

        return sorted(finished.values(), key=place)

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def parent(self, span):
        """The name of a span's parent; None at the root."""
        names = {one.context.span_id: one.name for one in self.spans}
        return span.parent and names[span.parent.span_id]

    def tree(self):
        return [(span.name.removeprefix("splitreason."), self.parent(span)) for span in self.spans]

    def points(self, name):
        """Each data point of a metric: its attributes but for those all have, and its value."""
        data = self.reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data else ()
        shared = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
        found = []
        for metric in (metric for scope in scopes for metric in scope.metrics):
            for point in metric.data.data_points if metric.name == name else ():
                assert {point.attributes[one] for one in shared[:2]} == {"chat", "splitreason"}
                own = {key: text for key, text in point.attributes.items() if key not in shared}
                found.append((own, point.value if hasattr(point, "value") else point))
        return found


def engine(telemetry, *larges, small=SMALL, **more):
    """A scripted pair whose small model hands over twice."""
    prices = more.pop("prices", Prices(1, 2))
    large = larges or (ScriptedModel(LARGE, name="big", prices=prices),)
    return SplitEngine(
        small=small if isinstance(small, ScriptedModel) else ScriptedModel(small, name="little"),
        large=list(large),
        telemetry=telemetry,
        **{"retry": QUICK, **more},
    )

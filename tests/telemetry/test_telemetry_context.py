"""Telemetry among callers: whose child a request is, and that it never makes one fail."""

import asyncio
import contextvars
import logging
import subprocess
import sys

import pytest
from llama_index.core.base.llms.types import ChatMessage
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler

from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import HumanCheck, SplitEngine, Telemetry
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.telemetry.tracing import Current
from splitreason_integrations.testing import ScriptedModel
from tests.limits import HANGS_S
from tests.loop.engine_runs import complete, request
from tests.telemetry.otel import CHAT, LARGE, SMALL, Received, engine

LONG = {"max_tokens": 400, "request_id": "r"}


@pytest.fixture
def received(caplog):
    """What was received; nothing may have been logged as an error on the way."""
    caplog.set_level(logging.WARNING, "opentelemetry")
    yield Received()
    assert not caplog.records


def chat_model(kind, received, **more):
    settings = {"seed": 1, "telemetry": received.telemetry(), **more}
    little, big = ScriptedModel(SMALL, name="little"), ScriptedModel(LARGE, name="big")
    return kind(small=little, large=big, **settings)


def langchain_sync(llm):
    llm.invoke("Hello")
    list(llm.stream("Hello"))
    llm.batch(["Hello", "Hello"])


async def langchain_async(llm):
    await llm.ainvoke("Hello")
    async for _ in llm.astream("Hello"):
        pass
    await llm.abatch(["Hello", "Hello"])


ASK = [ChatMessage(content="Hello")]


def llama_index_sync(llm):
    llm.chat(ASK)
    list(llm.stream_chat(ASK))
    llm.complete("Hello")
    list(llm.stream_complete("Hello"))


async def llama_index_async(llm):
    await llm.achat(ASK)
    async for _ in await llm.astream_chat(ASK):
        pass
    await llm.acomplete("Hello")
    async for _ in await llm.astream_complete("Hello"):
        pass


def parents(received):
    return [received.parent(span) for span in received.named(CHAT)]


@pytest.mark.parametrize(
    ("kind", "call"), [(LangChainLLM, langchain_sync), (LlamaIndexLLM, llama_index_sync)]
)
def test_a_call_is_a_child_of_the_callers_span(received, kind, call):
    with received.tracers.get_tracer("app").start_as_current_span("caller") as caller:
        call(chat_model(kind, received))
        assert trace.get_current_span() is caller
    assert parents(received) == ["caller"] * 4


@pytest.mark.parametrize(
    ("kind", "call"), [(LangChainLLM, langchain_async), (LlamaIndexLLM, llama_index_async)]
)
async def test_an_async_call_is_a_child_of_the_callers_span(received, kind, call):
    with received.tracers.get_tracer("app").start_as_current_span("caller") as caller:
        await call(chat_model(kind, received))
        assert trace.get_current_span() is caller
    assert parents(received) == ["caller"] * 4


async def test_a_stream_read_later_still_belongs_to_who_made_it(received):
    tracer = received.tracers.get_tracer("app")
    llm = chat_model(LlamaIndexLLM, received)
    with tracer.start_as_current_span("maker"):
        streams = [engine(received.telemetry()).stream(request(**LONG))]
        streams.append(await llm.astream_chat(ASK))
        sync = llm.stream_chat(ASK)
    with tracer.start_as_current_span("reader"):
        for stream in streams:
            async for _ in stream:
                pass
        await asyncio.to_thread(list, sync)
    assert parents(received) == ["maker"] * 3


async def test_the_callers_span_is_current_between_items(received):
    with received.tracers.get_tracer("app").start_as_current_span("caller") as caller:
        async for _ in engine(received.telemetry()).stream(request(**LONG)):
            assert trace.get_current_span() is caller


async def test_what_the_engine_calls_has_the_innermost_span_around_it(received):
    tracer = received.tracers.get_tracer("client")

    class Traced(ScriptedModel):
        def tokens_of(self, text):
            with tracer.start_as_current_span(f"open {self.name}"):
                return super().tokens_of(text)

    async def ask(question):
        with tracer.start_as_current_span("ask"):
            await asyncio.sleep(0)
        return True

    large = Traced(LARGE, name="big")
    check = HumanCheck(reviewer=ask)
    some = engine(
        received.telemetry(), large, small=Traced(SMALL, name="little"), human_check=check
    )
    await some.complete(request(**LONG))
    around = {span.name: received.parent(span) for span in received.spans}
    assert around["ask"] == "splitreason.human"
    assert around["open big"] == "splitreason.handoff"
    assert around["open little"] == CHAT


async def test_a_stream_may_be_read_and_closed_by_different_tasks(received):
    stream = engine(received.telemetry()).stream(request(**LONG))
    for _ in range(3):
        await asyncio.create_task(anext(stream))
    await asyncio.create_task(stream.aclose())
    assert received.named(CHAT)[0].attributes["splitreason.outcome"] == "cancelled"


def test_a_pull_that_is_thrown_away_restores_only_its_own_context(received):
    current = Current()
    span = received.tracers.get_tracer("app").start_span("one")
    current.use(trace.set_span_in_context(span))

    def pull():
        with current:
            yield

    def begun():
        pulling = pull()
        next(pulling)
        assert trace.get_current_span() is span
        return pulling

    begun().close()
    assert not trace.get_current_span().get_span_context().is_valid
    begun_elsewhere = contextvars.Context().run(begun)
    begun_elsewhere.close()
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_stream_that_is_forgotten(received):
    with received.tracers.get_tracer("app").start_as_current_span("caller"):
        for chunk in chat_model(LangChainLLM, received).stream("Hello"):
            if chunk:
                break
        del chunk
        next(iter(chat_model(LlamaIndexLLM, received).stream_chat(ASK)))
    outcomes = {span.attributes["splitreason.outcome"] for span in received.named(CHAT)}
    assert outcomes == {"cancelled"}


def test_a_caller_who_is_not_sampled_is_followed_in_that(received):
    unsampled = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    unsampled.add_span_processor(SimpleSpanProcessor(received.exporter))
    telemetry = Telemetry(tracer_provider=unsampled, meter_provider=received.meters)
    with unsampled.get_tracer("app").start_as_current_span("caller"):
        complete(engine(telemetry), request(**LONG))
    assert not received.spans
    assert received.points("splitreason.requests")[0][1] == 1


@pytest.mark.parametrize("kind", [LangChainLLM, LlamaIndexLLM])
def test_what_a_chat_model_takes(received, kind):
    assert kind().telemetry == Telemetry()
    assert kind(telemetry=True).telemetry == Telemetry()
    assert kind(telemetry=False).telemetry is None
    own = received.telemetry(content=True)
    assert kind(telemetry=own).engine().telemetry is own
    with pytest.raises(ValueError, match="telemetry must be a Telemetry"):
        kind(telemetry="on")
    assert kind().plain_options()["telemetry"] is True
    assert kind(telemetry=False).model_dump(mode="json")["telemetry"] is False


def test_telemetry_of_a_single_call(received):
    llm = chat_model(LangChainLLM, received, telemetry=False)
    llm.invoke("Hello")
    assert not received.spans
    llm.invoke("Hello", telemetry=received.telemetry())
    assert received.named(CHAT)


class Failing(SpanExporter):
    def export(self, spans):
        raise RuntimeError("the collector is down")


class FailingProcessor(SpanProcessor):
    def __init__(self, *, at):
        self.at = at

    def on_start(self, span, parent_context=None):
        self.count("start")

    def on_end(self, span):
        self.count("end")

    def count(self, what):
        if what == self.at:
            raise RuntimeError("the processor is broken")


class FailingSampler(Sampler):
    def should_sample(self, *arguments, **more):
        raise RuntimeError("the sampler is broken")

    def get_description(self):
        return "failing"


def broken(kind):
    if kind == "no provider":
        return Telemetry(tracer_provider=3)
    if kind == "sampler":
        return Telemetry(tracer_provider=TracerProvider(sampler=FailingSampler()))
    provider = TracerProvider()
    processor = SimpleSpanProcessor(Failing()) if kind == "exporter" else FailingProcessor(at=kind)
    provider.add_span_processor(processor)
    return Telemetry(tracer_provider=provider)


@pytest.mark.parametrize("kind", ["exporter", "start", "end", "sampler", "no provider"])
def test_what_is_broken_there_breaks_no_request(kind, caplog):
    some, silent = engine(broken(kind)), engine(None)
    assert complete(some, request(**LONG)).pieces == complete(silent, request(**LONG)).pieces
    assert caplog.records
    with pytest.raises(ConfigurationError):
        complete(SplitEngine(small=3, large="embedded", telemetry=broken(kind)), request())


class FailingReader(InMemoryMetricReader):
    def _receive_metrics(self, metrics_data, timeout_millis=10_000, **kwargs):
        raise RuntimeError("the collector is down")


def test_a_failing_reader_breaks_no_request():
    reader = FailingReader()
    meters = MeterProvider([reader])
    assert complete(engine(Telemetry(meter_provider=meters)), request(**LONG)).answer
    with pytest.raises(RuntimeError, match="collector"):
        reader.collect()


def in_a_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


ONE_REQUEST = """
from splitreason_integrations import Request, SplitEngine, blocking
from splitreason_integrations.testing import ScriptedModel
some = SplitEngine(small=ScriptedModel("A<bigmodel>."), large=ScriptedModel(" b</bigmodel>"))
ask = Request(messages=[{"role": "user", "content": "x"}], max_tokens=40)
print(blocking.run(lambda: some.complete(ask)).spans)
"""


def test_without_the_package_all_goes_on_as_ever():
    code = f"import sys\nsys.modules['opentelemetry'] = None\n{ONE_REQUEST}"
    done = in_a_process(code)
    assert "SpanRecord" in done.stdout
    assert done.stderr == ""


def test_global_providers_may_come_after_the_first_request():
    code = f"""{ONE_REQUEST}
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
metrics.set_meter_provider(MeterProvider([reader]))
blocking.run(lambda: some.complete(ask))
assert spans.get_finished_spans()[-1].name == "chat splitreason/scripted+scripted"
scope = reader.get_metrics_data().resource_metrics[0].scope_metrics[0]
assert scope.scope.name == "splitreason_integrations"
assert scope.scope.version
"""
    assert in_a_process(code).stderr == ""

"""Requests as OpenTelemetry's spans: names, parents, attributes, order, and how they end."""

import asyncio
import json
from contextlib import aclosing

import anyio
import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode

from splitreason_integrations import (
    Keyword,
    Policy,
    Prices,
    SplitEngine,
    Telemetry,
)
from splitreason_integrations.audit import AuditLog
from splitreason_integrations.errors import AuditError, ConfigurationError, LargeModelError
from splitreason_integrations.telemetry import names
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import collect, complete, request
from tests.loop.faults import Fault, FaultyModel
from tests.telemetry.otel import CHAT, LARGE, Received, engine

LONG = {"max_tokens": 400, "request_id": "r"}
SECRET = "Rumpelstiltskin"


@pytest.fixture
def received():
    return Received()


def test_a_request_and_its_parts(received):
    reply = complete(engine(received.telemetry()), request(**LONG))
    assert received.tree() == [
        (CHAT, None),
        ("small", CHAT),
        ("handoff", CHAT),
        ("small", CHAT),
        ("handoff", CHAT),
        ("small", CHAT),
    ]
    first, *_, last = received.named("splitreason.small")
    handoff = received.named("splitreason.handoff")[1]
    whole = received.named(CHAT)[0]
    assert {span.kind for span in received.spans} == {SpanKind.INTERNAL}
    assert {span.status.status_code for span in received.spans} == {StatusCode.UNSET}
    ends = [span.end_time for span in received.spans[1:]]
    starts = [span.start_time for span in received.spans[1:]]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert whole.start_time <= first.start_time <= last.end_time <= whole.end_time
    facts = handoff.attributes
    assert facts[names.REQUEST_MODEL] == "big"
    assert facts[names.AUTHOR] == "large"
    assert facts[names.SPAN] == 1
    assert facts[names.ATTEMPTS] == 1
    assert (facts[names.OPENED_BY], facts[names.CLOSED_BY]) == ("tag", "large")
    assert facts[names.TOKENS] == reply.spans[1].tokens
    assert facts[names.COST_USD] == reply.spans[1].cost_usd > 0
    assert [event.name for event in handoff.events] == ["splitreason.handoff.started"]
    assert first.attributes[names.REQUEST_MODEL] == "little"
    small = received.named("splitreason.small")
    assert sum(one.attributes[names.TOKENS] for one in small) == reply.small_tokens


def test_the_request_says_what_it_took(received):
    asked = request(**LONG, metadata={"tenant": "acme"}, response_schema=None)
    reply = complete(engine(received.telemetry()), asked)
    facts = dict(received.named(CHAT)[0].attributes)
    assert facts == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "splitreason",
        "gen_ai.request.model": "splitreason/little+big",
        "gen_ai.output.type": "text",
        "gen_ai.response.id": "r",
        "gen_ai.request.max_tokens": 400,
        "gen_ai.request.seed": 5,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": reply.prompt_tokens,
        "gen_ai.usage.output_tokens": reply.tokens,
        "gen_ai.usage.reasoning.output_tokens": reply.reasoning_tokens,
        "splitreason.trigger": "tag",
        "splitreason.close": "tag>0.5",
        "splitreason.resumed": False,
        "splitreason.metadata.tenant": "acme",
        "splitreason.outcome": "finished",
        "splitreason.small_tokens": reply.small_tokens,
        "splitreason.large_tokens": reply.large_tokens,
        "splitreason.human_tokens": 0,
        "splitreason.offload_share": reply.offload_share,
        "splitreason.spans": 2,
        "splitreason.cost_usd": reply.cost_usd,
        "splitreason.degraded": False,
    }


def test_usage_is_counted_by_the_request_alone(received):
    complete(engine(received.telemetry()), request(**LONG))
    for span in received.spans[1:]:
        assert not [name for name in span.attributes if name.startswith("gen_ai.usage")]


def test_names_are_those_of_the_conventions():
    conventions = {
        *(value for value in vars(gen_ai_attributes).values() if isinstance(value, str)),
        *(value for value in vars(gen_ai_metrics).values() if isinstance(value, str)),
        error_attributes.ERROR_TYPE,
    }
    ours = {value for name, value in vars(names).items() if name.isupper() and "." in value}
    assert {name for name in ours if not name.startswith("splitreason.")} <= conventions
    assert gen_ai_attributes.GenAiOperationNameValues.CHAT.value == names.CHAT


def test_texts_are_left_out_unless_asked_for(received):
    small = f"I know {SECRET}.<bigmodel> All.</think>\n\nMia has {SECRET}."
    large = f" 1081 {SECRET}</bigmodel>"
    asked = request(messages=[{"role": "user", "content": f"Who is {SECRET}?"}], stop=[SECRET * 2])
    for telemetry in (received.telemetry(), received.telemetry(content=True)):
        for failing in ({}, {"fail_after": 2, "error": RuntimeError(SECRET)}):
            one = ScriptedModel(large, name="big", **failing)
            complete(engine(telemetry, one, small=small), asked)
        raising = ScriptedModel(large, name="big", fail_after=2, error=RuntimeError(SECRET))
        some = engine(telemetry, raising, small=small, on_large_failure="raise")
        with pytest.raises(LargeModelError):
            complete(some, asked)
    text = [span.to_json() for span in received.exporter.get_finished_spans()]
    half = len(text) // 2
    assert SECRET not in "".join(text[:half])
    assert text[half].count(SECRET) == 0
    whole = received.named(CHAT)[3]
    (said,) = json.loads(whole.attributes[names.INPUT_MESSAGES])
    assert said == {
        "role": "user",
        "parts": [{"type": "text", "content": f"Who is {SECRET}?"}],
    }
    (wrote,) = json.loads(whole.attributes[names.OUTPUT_MESSAGES])
    assert [part["type"] for part in wrote["parts"]] == ["reasoning", "text"]
    assert wrote["parts"][1]["content"] == f"Mia has {SECRET}."
    assert received.named("splitreason.handoff")[3].attributes["splitreason.text"] == large[:-11]
    (event,) = received.named(CHAT)[5].events
    assert SECRET in event.attributes["exception.message"]


def test_calls_and_tool_results_are_content_too(received):
    call = {"id": "1", "function": {"name": "add", "arguments": {"a": 1}}}
    asked = request(
        messages=[
            {"role": "user", "content": "Add 1."},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ]
    )
    tool = '</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    complete(engine(received.telemetry(content=True), small=tool), asked)
    facts = received.named(CHAT)[0].attributes
    said = [one["parts"] for one in json.loads(facts[names.INPUT_MESSAGES])]
    assert said == [
        [{"type": "text", "content": "Add 1."}],
        [{"type": "tool_call", "id": "1", "name": "add", "arguments": {"a": 1}}],
        [{"type": "tool_call_response", "id": "1", "response": "2"}],
    ]
    (wrote,) = json.loads(facts[names.OUTPUT_MESSAGES])
    assert [(part["name"], part["arguments"]) for part in wrote["parts"]] == [("add", {"a": 1})]


def test_retries_are_events_of_the_handover(received):
    large = FaultyModel(LARGE, faults=[Fault(1), Fault(1)], name="big")
    complete(engine(received.telemetry(), large), request(**LONG))
    handoff = received.named("splitreason.handoff")[0]
    assert [event.name for event in handoff.events] == [
        "splitreason.handoff.started",
        "splitreason.handoff.retried",
        "splitreason.handoff.retried",
    ]
    facts = handoff.events[-1].attributes
    assert facts["error.type"] == "ModelCallError"
    assert facts["gen_ai.request.model"] == "big"
    assert facts["splitreason.attempt"] == 2
    assert handoff.attributes[names.ATTEMPTS] == 3
    assert handoff.status.status_code is StatusCode.UNSET


def test_another_large_model_goes_on_in_the_same_span(received):
    dying = FaultyModel(LARGE, faults=[Fault(2, fatal=True)], name="first")
    spare = ScriptedModel(LARGE, name="second")
    complete(engine(received.telemetry(), dying, spare), request(**LONG))
    handoff = received.named("splitreason.handoff")[0]
    assert [event.name.rpartition(".")[2] for event in handoff.events] == [
        "started",
        "failed",
        "fell_back",
        "started",
    ]
    assert handoff.events[2].attributes["splitreason.to"] == "second"
    assert handoff.attributes[names.REQUEST_MODEL] == "second"
    assert handoff.status.status_code is StatusCode.UNSET


def test_the_small_model_goes_on_and_the_handover_is_an_error(received):
    dying = FaultyModel(LARGE, faults=[Fault(2, fatal=True)], name="big")
    reply = complete(engine(received.telemetry(), dying), request(**LONG))
    assert reply.degraded
    (handoff,), (whole,) = received.named("splitreason.handoff"), received.named(CHAT)
    assert handoff.status.status_code is StatusCode.ERROR
    assert handoff.attributes["error.type"] == "ModelCallError"
    assert handoff.attributes[names.CLOSED_BY] == "failure"
    assert whole.attributes[names.DEGRADED]
    assert whole.status.status_code is StatusCode.UNSET
    assert [event.attributes["splitreason.to"] for event in whole.events] == ["small"]


def test_a_failed_request_says_so_in_all_its_open_spans(received):
    dying = FaultyModel(LARGE, faults=[Fault(2, fatal=True)], name="big")
    some = engine(received.telemetry(), dying, on_large_failure="raise")
    with pytest.raises(LargeModelError):
        complete(some, request(**LONG))
    whole, _, handoff = received.spans
    for span in (whole, handoff):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "LargeModelError"
        assert span.attributes[names.OUTCOME] == "failed"
    assert not whole.events


def test_what_fails_before_it_begins_is_reported_too(received, tmp_path):
    with pytest.raises(ConfigurationError):
        complete(SplitEngine(small=3, large="embedded", telemetry=received.telemetry()), request())
    log = AuditLog(tmp_path / "audit.jsonl")
    log.path.write_text("damaged\n", "utf-8")
    with pytest.raises(AuditError):
        complete(engine(received.telemetry(), audit=log), request())
    errors = [span.attributes["error.type"] for span in received.spans]
    assert errors == ["ConfigurationError", "AuditError"]


def test_reached_caps_are_events(received):
    some = engine(received.telemetry(), policy=Policy(max_spans=1))
    complete(some, request(**LONG))
    (event,) = received.named(CHAT)[0].events
    assert event.name == "splitreason.budget.exhausted"
    assert event.attributes[names.CAP] == "max_spans"


async def test_a_stream_closed_early_ends_its_spans(received):
    slow = ScriptedModel(LARGE, name="big")
    async with aclosing(engine(received.telemetry(), slow).stream(request(**LONG))) as items:
        async for item in items:
            if getattr(item, "name", "") == "splitreason.handoff.started":
                break
    assert [span.name for span in received.spans] == [
        CHAT,
        "splitreason.small",
        "splitreason.handoff",
    ]
    outcomes = [span.attributes.get(names.OUTCOME) for span in received.spans]
    assert outcomes == ["cancelled", None, "cancelled"]
    assert {span.status.status_code for span in received.spans} == {StatusCode.UNSET}


def test_half_a_surrogate_pair_cannot_cost_a_batch(received):
    complete(engine(received.telemetry()), request(**LONG, metadata={"tenant": "a\ud800b"}))
    assert received.named(CHAT)[0].attributes["splitreason.metadata.tenant"] == "a?b"


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_request_ends_its_spans(received, how):
    slow = engine(received.telemetry(), ScriptedModel(LARGE, name="big", delay_s=5))
    if how == "scope":
        with anyio.move_on_after(2.0):
            await slow.complete(request(**LONG))
    else:
        task = asyncio.create_task(slow.complete(request(**LONG)))
        await asyncio.sleep(2.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert received.named(CHAT)[0].attributes[names.OUTCOME] == "cancelled"
    assert received.named("splitreason.handoff")[0].attributes[names.OUTCOME] == "cancelled"


def test_a_stream_that_nobody_begins_leaves_nothing(received):
    engine(received.telemetry()).stream(request(**LONG))
    assert not received.spans


async def test_many_requests_at_once_keep_their_own_spans(received):
    some = engine(received.telemetry(), ScriptedModel(LARGE, name="big", delay_s=0.001))
    await asyncio.gather(*(some.complete(request(max_tokens=400)) for _ in range(8)))
    for whole in received.named(CHAT):
        own = [s for s in received.spans if s.context.trace_id == whole.context.trace_id]
        assert len(own) == 6
        assert (
            sum(span.attributes.get(names.TOKENS, 0) for span in own)
            == whole.attributes[names.OUTPUT_TOKENS]
        )


def test_triggers_that_no_tag_ends_are_reported_as_well(received):
    some = engine(received.telemetry(), trigger=Keyword("Two"))
    reply = complete(some, request(**LONG))
    assert len(received.named("splitreason.handoff")) == len(reply.spans) > 0


def test_telemetry_changes_nothing_about_a_reply(received, random_pair):
    from tests.loop.engine_runs import engine as random_engine

    reported, silent = (
        collect(random_engine(random_pair, telemetry=telemetry), request())
        for telemetry in (received.telemetry(content=True), None)
    )
    assert reported[1].pieces == silent[1].pieces
    assert len(received.named("splitreason.handoff")) == len(reported[1].spans) > 0


def test_a_key_within_an_address_is_left_out(received):
    large = ScriptedModel(LARGE, name=f"https://me:{SECRET}@host/v1#m", prices=Prices(1, 1))
    complete(engine(received.telemetry(content=True), large), request(**LONG))
    text = "".join(span.to_json() for span in received.spans)
    text += received.reader.get_metrics_data().to_json()
    assert "https://host/v1#m" in text
    assert SECRET not in text


def test_what_the_engine_takes():
    assert SplitEngine().telemetry == Telemetry()
    assert SplitEngine(telemetry=None).telemetry is None
    with pytest.raises(ConfigurationError, match="telemetry must be a Telemetry"):
        SplitEngine(telemetry=True)

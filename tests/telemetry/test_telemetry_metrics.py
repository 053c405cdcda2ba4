"""Requests as OpenTelemetry's metrics: what is counted, once, and by which attributes."""

import time

import pytest
from opentelemetry.sdk.metrics.export import Histogram

from splitreason_integrations import (
    Agrees,
    Answer,
    Disagreement,
    HumanCheck,
    Paused,
    Policy,
    Prices,
    StepEnd,
    blocking,
)
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import complete, request
from tests.loop.faults import Fault, FaultyModel
from tests.telemetry.otel import LARGE, SMALL, Later, Received, engine

LONG = {"max_tokens": 400, "request_id": "r"}


@pytest.fixture
def received():
    return Received()


def one(points):
    ((facts, value),) = points
    return facts, value


def total(received, name, **wanted):
    return sum(
        value
        for facts, value in received.points(f"splitreason.{name}")
        if facts.items() >= {f"splitreason.{key}": text for key, text in wanted.items()}.items()
    )


def test_a_request_is_counted_once(received):
    little = ScriptedModel(SMALL, name="little", prices=Prices(0.5, 0.5))
    some = engine(received.telemetry(), small=little)
    replies = [complete(some, request(**LONG)) for _ in range(3)]
    (small, large) = (sum(r.small_tokens for r in replies), sum(r.large_tokens for r in replies))
    assert total(received, "tokens", author="small") == small
    assert total(received, "tokens", author="large") == large
    assert total(received, "requests", outcome="finished", degraded=False) == 3
    assert total(received, "cost_usd") == pytest.approx(sum(r.cost_usd for r in replies))
    spans = sum(span.cost_usd for reply in replies for span in reply.spans)
    assert total(received, "cost_usd", author="large") == pytest.approx(spans)
    assert total(received, "cost_usd", author="small") > 0
    facts, latency = one(received.points("splitreason.handoff.latency"))
    assert facts == {"splitreason.large_model": "big", "splitreason.closed_by": "large"}
    assert latency.count == 6
    assert latency.sum == pytest.approx(sum(s.latency_s for r in replies for s in r.spans))
    _, share = one(received.points("splitreason.offload_share"))
    assert (share.count, share.max) == (3, replies[0].offload_share)


def test_the_conventions_own_metrics(received):
    reply = complete(engine(received.telemetry()), request(**LONG))
    usage = {
        facts["gen_ai.token.type"]: point.sum
        for facts, point in received.points("gen_ai.client.token.usage")
    }
    assert usage == {"input": reply.prompt_tokens, "output": reply.tokens}
    facts, duration = one(received.points("gen_ai.client.operation.duration"))
    assert (facts, duration.sum) == ({}, reply.latency_s)
    assert duration.explicit_bounds[:2] == (0.01, 0.02)
    _, first = one(received.points("gen_ai.client.operation.time_to_first_chunk"))
    assert 0 < first.sum < reply.latency_s


def test_failures_retries_and_those_who_go_on(received):
    dying = FaultyModel(LARGE, faults=[Fault(1), Fault(1, fatal=True)], name="first")
    spare = FaultyModel(LARGE, faults=[Fault(2, fatal=True)], name="second")
    reply = complete(engine(received.telemetry(), dying, spare), request(**LONG))
    assert reply.degraded
    for name in ("retries", "failures"):
        for facts, _ in received.points(f"splitreason.handoff.{name}"):
            assert facts["error.type"] == "ModelCallError"
    assert total(received, "handoff.retries", large_model="first") == 1
    assert total(received, "handoff.failures", large_model="first") == 1
    assert total(received, "handoff.failures", large_model="second") == 1
    assert total(received, "handoff.fallbacks", to="second") == 1
    assert total(received, "handoff.fallbacks", to="small") == 1
    assert total(received, "requests", outcome="finished", degraded=True) == 1
    assert total(received, "tokens", author="large") == reply.large_tokens


def test_a_failed_request_is_a_duration_with_its_error(received):
    dying = FaultyModel(LARGE, faults=[Fault(2, fatal=True)], name="big")
    with pytest.raises(LargeModelError):
        complete(engine(received.telemetry(), dying, on_large_failure="raise"), request(**LONG))
    facts, duration = one(received.points("gen_ai.client.operation.duration"))
    assert (facts, duration.count) == ({"error.type": "LargeModelError"}, 1)
    facts, count = one(received.points("splitreason.requests"))
    assert facts == {"splitreason.outcome": "failed", "error.type": "LargeModelError"}
    assert count == 1
    assert total(received, "tokens", author="small") == 3
    assert total(received, "tokens", author="large") == 2


def test_a_stream_closed_early_counts_what_was_written(received):
    items = blocking.iterate(engine(received.telemetry()).stream(request(**LONG)))
    seen = 0
    for item in items:
        seen += len(getattr(item, "token_ids", ()))
        if getattr(item, "name", "") == "splitreason.handoff.finished":
            break
    items.close()
    assert total(received, "requests", outcome="cancelled") == 1
    assert total(received, "tokens") == seen > 0
    assert total(received, "cost_usd", author="large") > 0
    assert not received.points("gen_ai.client.operation.duration")


def test_closing_behind_the_end_counts_nothing_twice(received):
    items = blocking.iterate(engine(received.telemetry()).stream(request(**LONG)))
    while not hasattr(next(items), "stop_reason"):
        pass
    items.close()
    assert one(received.points("splitreason.requests"))[1] == 1


def test_reached_caps(received):
    complete(engine(received.telemetry(), policy=Policy(max_spans=1)), request(**LONG))
    assert one(received.points("splitreason.budget.exhausted")) == (
        {"splitreason.cap": "max_spans"},
        1,
    )


def test_a_persons_time(received):
    def slow(question):
        time.sleep(0.05)
        return "approve" if "Two" in question.context else "refuse"

    complete(engine(received.telemetry(), human_check=HumanCheck(reviewer=slow)), request(**LONG))
    points = received.points("splitreason.human.wait")
    assert sorted(facts["splitreason.decision"] for facts, _ in points) == ["approve", "refuse"]
    assert all(point.sum >= 0.05 for _, point in points)
    assert {facts["splitreason.moment"] for facts, _ in points} == {"before"}
    assert not any("by" in name for facts, _ in points for name in facts)


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_request_put_aside_and_gone_on_with_is_counted_once(received, replay, moment):
    rules = {"before": None, "after": None, moment: AskRule()}
    little = ScriptedModel(SMALL, name="little", prices=Prices(0.5, 0.5))
    check = HumanCheck(reviewer=Later(), **rules)
    some = engine(received.telemetry(), small=little, human_check=check)
    *_, last = blocking.iterate(some.stream(request(**LONG)))
    rounds = 0
    while isinstance(last, Paused):
        rounds += 1
        earlier = last.state["telemetry"]["asked_unix_s"] - 3600
        state = {**last.state, "telemetry": {"asked_unix_s": earlier}}
        waiting = Paused(last.question, state)
        *_, last = blocking.iterate(some.resume(waiting, Answer(decision="approve"), replay=replay))
    assert rounds == 2
    assert total(received, "requests", outcome="waiting") == 2
    assert total(received, "requests", outcome="finished") == 1
    assert total(received, "tokens", author="small") == last.small_tokens
    assert total(received, "tokens", author="large") == last.large_tokens
    assert total(received, "cost_usd") == pytest.approx(last.cost_usd)
    _, waited = one(received.points("splitreason.human.wait"))
    assert waited.count == 2
    assert waited.min >= 3600
    _, first = one(received.points("gen_ai.client.operation.time_to_first_chunk"))
    assert first.count == 1


def test_attributes_take_few_values(received):
    for number in range(3):
        asked = request(max_tokens=400, metadata={"tenant": str(number)}, seed=number)
        complete(engine(received.telemetry()), asked)
    data = received.reader.get_metrics_data().resource_metrics[0].scope_metrics
    for metric in (metric for scope in data for metric in scope.metrics):
        assert len(metric.data.data_points) <= 2, metric.name
        assert metric.unit
        if isinstance(metric.data, Histogram):
            bounds = metric.data.data_points[0].explicit_bounds
            assert list(bounds) == sorted(set(bounds))


def test_what_the_large_model_reads_along_is_counted(received):
    small = ScriptedModel("One two three. Four five.</think>\n\n7", taught=False)
    large = ScriptedModel(
        "six",
        name="big",
        prices=Prices(1.0, 2.0),
        reading=lambda text, token: 0.01 if token == "." else 0.9,
    )
    some = engine(
        received.telemetry(),
        large,
        small=small,
        trigger=Disagreement(0.1),
        close=Agrees() | StepEnd(),
        policy=Policy(max_spans=1),
    )
    reply = complete(some, request(**LONG))
    assert reply.read_ahead_tokens > 0
    assert total(received, "read_ahead_tokens") == reply.read_ahead_tokens
    assert total(received, "small_surplus_tokens") == reply.small_surplus_tokens
    assert total(received, "cost_usd", author="large") == pytest.approx(reply.cost_usd)
    facts = received.spans[0].attributes
    assert facts["splitreason.trigger"] == "disagreement<0.1"
    assert facts["splitreason.close"] == "(agrees | step)"
    assert facts["splitreason.read_ahead_tokens"] == reply.read_ahead_tokens

"""What a person is asked, and requests put aside for it, as OpenTelemetry's spans."""

import pytest

from splitreason_integrations import Answer, HumanCheck, Paused, blocking
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.errors import PauseError
from splitreason_integrations.telemetry import names
from tests.loop.engine_runs import complete, request
from tests.telemetry.otel import CHAT, Later, Received, engine

LONG = {"max_tokens": 400, "request_id": "r"}


@pytest.fixture
def received():
    return Received()


def test_a_persons_time_is_a_span_within_the_handover(received):
    check = HumanCheck(reviewer=lambda question: "Two" in question.context)
    complete(engine(received.telemetry(), human_check=check), request(**LONG))
    assert [one for one in received.tree() if one[0] in ("handoff", "human")] == [
        ("handoff", CHAT),
        ("human", "splitreason.handoff"),
        ("handoff", CHAT),
        ("human", "splitreason.handoff"),
    ]
    refused, approved = received.named("splitreason.handoff")
    assert refused.attributes[names.TOKENS] == 0
    assert [event.name.rpartition(".")[2] for event in refused.events] == ["refused"]
    before, _ = received.named("splitreason.human")
    facts = before.attributes
    assert (facts[names.MOMENT], facts[names.DECISION]) == ("before", "refuse")
    assert facts[names.WAITED_S] >= 0
    assert "splitreason.by" not in facts
    assert [event.name.rpartition(".")[2] for event in approved.events][:2] == [
        "approved",
        "started",
    ]


@pytest.mark.parametrize("decision", ["approve", "refuse", "edit", "stop"])
def test_a_person_may_answer_afterwards(received, decision):
    check = HumanCheck(
        reviewer=lambda question: Answer(decision=decision, text="x y z."),
        before=None,
        after=AskRule(),
    )
    reply = complete(engine(received.telemetry(), human_check=check), request(**LONG))
    handoffs = received.named("splitreason.handoff")
    assert len(handoffs) == len(reply.spans)
    assert [one.attributes[names.TOKENS] for one in handoffs] == [s.tokens for s in reply.spans]
    answered = received.named("splitreason.human")
    assert {one.attributes[names.DECISION] for one in answered} == {decision}


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_request_put_aside_is_linked_by_its_continuation(received, moment, replay):
    rules = {"before": None, "after": None, moment: AskRule()}
    some = engine(received.telemetry(), human_check=HumanCheck(reviewer=Later(), **rules))
    *_, paused = blocking.iterate(some.stream(request(**LONG)))
    first = received.named(CHAT)[0]
    assert first.attributes[names.OUTCOME] == "waiting"
    assert received.tree()[-1] == ("human", "splitreason.handoff")
    assert received.spans[-1].attributes[names.OUTCOME] == "waiting"
    received.exporter.clear()
    paused = Paused.from_json(paused.to_json())
    answer = Answer(decision="approve", by="ann")
    *_, paused = blocking.iterate(some.resume(paused, answer, replay=replay))
    (second,) = received.named(CHAT)
    (link,) = second.links
    assert link.context.span_id == first.context.span_id
    assert link.context.trace_id == first.context.trace_id != second.context.trace_id
    assert second.attributes[names.RESUMED]
    handoff = received.named("splitreason.handoff")[0]
    assert received.parent(handoff) == CHAT
    assert (handoff.attributes[names.SPAN], handoff.attributes[names.OPENED_BY]) == (0, "tag")
    assert handoff.attributes[names.TOKENS] == 4
    marks = [event.name for event in handoff.events]
    assert marks[:2] == ["splitreason.human.answered", "splitreason.handoff.approved"]
    small = received.named("splitreason.small")
    assert len(small) == 1, "what was reported before is not counted again"


def test_a_request_refused_after_it_was_put_aside(received):
    some = engine(received.telemetry(), human_check=HumanCheck(reviewer=Later()))
    *_, paused = blocking.iterate(some.stream(request(**LONG)))
    list(blocking.iterate(some.resume(paused, Answer(decision="refuse"))))
    resumed = received.named(CHAT)[1]
    whose = [s for s in received.spans if s.parent and s.parent.span_id == resumed.context.span_id]
    assert [span.name for span in whose] == [
        "splitreason.handoff",
        "splitreason.small",
        "splitreason.handoff",
    ]
    assert whose[0].attributes[names.TOKENS] == 0


CHANGED = [
    {"traceparent": 4},
    {"traceparent": "00-zz-1-1"},
    {"asked_unix_s": "x", "traceparent": "\ud800" * 9},
    {"asked_unix_s": 1e308},
]


def changed(received, kept):
    """Return an engine and one of its paused requests whose trace was changed where it lay."""
    some = engine(received.telemetry(), human_check=HumanCheck(reviewer=Later()))
    *_, paused = blocking.iterate(some.stream(request(**LONG)))
    received.exporter.clear()
    return some, Paused(paused.question, {**paused.state, "telemetry": kept})


@pytest.mark.parametrize("kept", CHANGED)
def test_what_a_request_kept_may_have_been_changed(received, kept):
    some, paused = changed(received, kept)
    *_, _ = blocking.iterate(some.resume(paused, Answer(decision="approve")))
    assert not received.named(CHAT)[0].links
    assert received.points("splitreason.human.wait")


@pytest.mark.parametrize("kept", [None, 3, {"asked_unix_s": float("nan")}])
def test_what_a_request_kept_and_cannot_have_kept_is_refused(received, kept):
    some, paused = changed(received, kept)
    with pytest.raises(PauseError, match=r"telemetry.*take it from where it was stored first"):
        list(blocking.iterate(some.resume(paused, Answer(decision="approve"))))


def test_a_request_put_aside_without_telemetry_goes_on_with_it(received):
    check = HumanCheck(reviewer=Later())
    *_, paused = blocking.iterate(engine(None, human_check=check).stream(request(**LONG)))
    state = {name: value for name, value in paused.state.items() if name != "telemetry"}
    some = engine(received.telemetry(), human_check=check)
    list(blocking.iterate(some.resume(Paused(paused.question, state), Answer(decision="stop"))))
    assert not received.named(CHAT)[0].links

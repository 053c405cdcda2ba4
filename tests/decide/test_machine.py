"""Every transition, every cap; illegal facts change nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations.decide.ledger import Ledger
from splitreason_integrations.decide.machine import (
    TRANSITIONS,
    LargeFailed,
    LargeRead,
    LargeWrote,
    Machine,
    QuestionPut,
    ReplyEnded,
    SmallWrote,
    SpanApproved,
    SpanClosed,
    SpanOpened,
    SpanRefused,
    SpanReplaced,
    State,
)
from splitreason_integrations.decide.orders import CloseSpan, Finish, WriteLarge, WriteSmall
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import ConfigurationError, IllegalTransitionError

FACTS = {
    SmallWrote: SmallWrote(1),
    SpanOpened: SpanOpened("tag"),
    QuestionPut: QuestionPut(),
    SpanApproved: SpanApproved(),
    SpanRefused: SpanRefused(),
    SpanReplaced: SpanReplaced(1, 0),
    LargeWrote: LargeWrote(1, 0, 0),
    LargeRead: LargeRead(1),
    SpanClosed: SpanClosed("large"),
    LargeFailed: LargeFailed(),
    ReplyEnded: ReplyEnded("stop"),
}


def machine_in(state, **policy):
    machine = Machine(policy=Policy(**policy), max_tokens=1000)
    if state in (State.LARGE, State.WAITING):
        machine.note(SpanOpened("tag"))
    if state is State.WAITING:
        machine.note(QuestionPut())
    if state is State.DONE:
        machine.note(ReplyEnded("stop"))
    return machine


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("fact", FACTS)
def test_table(state, fact):
    machine = machine_in(state)
    before = machine.ledger
    if (state, fact) in TRANSITIONS:
        machine.note(FACTS[fact])
        assert machine.state is TRANSITIONS[state, fact]
    else:
        with pytest.raises(IllegalTransitionError, match=fact.__name__):
            machine.note(FACTS[fact])
        assert machine.state is state
        assert machine.ledger == before


def test_small_alone_until_length():
    machine = Machine(policy=Policy(), max_tokens=10)
    assert machine.order() == WriteSmall(10, may_open=True)
    machine.note(SmallWrote(10))
    assert machine.order() == Finish("length")


def test_span_cap_ends_the_span_and_not_the_budget():
    machine = machine_in(State.LARGE, max_span_tokens=8)
    assert machine.order() == WriteLarge(8)
    machine.note(LargeWrote(8, 0, 0))
    assert machine.order() == CloseSpan("max_span_tokens")
    machine.note(SpanClosed("max_span_tokens"))
    assert machine.order() == WriteSmall(992, may_open=True)
    assert machine.exhausted == []


def test_spans_cap():
    machine = machine_in(State.LARGE, max_spans=1)
    machine.note(LargeWrote(4, 0, 0))
    machine.note(SpanClosed("large"))
    assert machine.order() == WriteSmall(996, may_open=False)
    assert machine.exhausted == ["max_spans"]


def test_share_cap_waits_for_the_small_model():
    machine = Machine(policy=Policy(max_offload_share=0.2, min_span_tokens=8), max_tokens=1000)
    assert machine.order() == WriteSmall(32, may_open=False)
    machine.note(SmallWrote(32))
    assert machine.order() == WriteSmall(968, may_open=True)
    machine.note(SpanOpened("tag"))
    assert machine.order() == WriteLarge(8)


def test_after_an_empty_span_the_small_model_must_write():
    machine = machine_in(State.LARGE)
    machine.note(SpanClosed("large_end"))
    assert machine.order() == WriteSmall(1, may_open=False)
    machine.note(SmallWrote(0))
    assert machine.order() == WriteSmall(1, may_open=False)
    machine.note(SmallWrote(1))
    assert machine.order() == WriteSmall(999, may_open=True)


def test_failure_degrades():
    machine = machine_in(State.LARGE)
    machine.note(LargeFailed())
    assert machine.degraded
    assert machine.order() == WriteSmall(1000, may_open=False)


def test_deadline():
    machine = machine_in(State.LARGE, deadline_s=2.0)
    machine.at(1.9)
    assert isinstance(machine.order(), WriteLarge)
    machine.at(2.0)
    assert machine.order() == Finish("deadline")


def test_money_counts_what_is_read():
    prices = Prices(input_usd=1.0, output_usd=10.0)
    policy = Policy(max_usd=0.001)
    assert policy.room(Ledger(unread=500), prices).tokens == 50
    assert policy.room(Ledger(unread=1001), prices).tokens == 0
    assert policy.room(Ledger(usd=0.0009), prices).tokens == 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_offload_share", 1.5),
        ("max_spans", -1),
        ("max_usd", float("nan")),
        ("min_span_tokens", 0),
    ],
)
def test_policy_names_the_bad_field(field, value):
    with pytest.raises(ConfigurationError, match=field):
        Policy(**{field: value})


@given(
    share=st.floats(0.01, 0.99),
    most=st.none() | st.integers(0, 60),
    span=st.integers(1, 40),
    least=st.integers(1, 20),
    spans=st.none() | st.integers(0, 4),
    moves=st.lists(st.integers(1, 30), max_size=30),
)
def test_no_cap_is_ever_exceeded(share, most, span, least, spans, moves):
    policy = Policy(
        max_offload_share=share,
        max_large_tokens=most,
        max_span_tokens=span,
        max_spans=spans,
        min_span_tokens=least,
    )
    machine = Machine(policy=policy, max_tokens=400)
    for move in moves:
        match machine.order():
            case WriteSmall(limit, may_open):
                machine.note(SmallWrote(min(move, limit)))
                if may_open:
                    machine.note(SpanOpened("test"))
            case WriteLarge(limit):
                machine.note(LargeWrote(min(move, limit), 0, 0))
                if move % 2:
                    machine.note(SpanClosed("large"))
            case CloseSpan(cap):
                machine.note(SpanClosed(cap))
            case Finish(reason):
                machine.note(ReplyEnded(reason))
                break
        ledger = machine.ledger
        total = ledger.small + ledger.large
        assert total <= 400
        assert ledger.large <= share * total + 1e-6
        assert most is None or ledger.large <= most
        assert ledger.span <= span
        assert spans is None or ledger.spans <= spans

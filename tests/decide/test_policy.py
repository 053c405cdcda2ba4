"""Policies as values: checks, rules, gates, terms, and when a person is asked."""

import math

import pytest

from splitreason_integrations import (
    AskRule,
    Handover,
    LatencyModel,
    ModelTerms,
    Policy,
    Prices,
    Rule,
)
from splitreason_integrations.decide.ledger import Ledger, Room
from splitreason_integrations.decide.machine import (
    LargeWrote,
    Machine,
    SmallWrote,
    SpanClosed,
    SpanOpened,
)
from splitreason_integrations.decide.orders import CloseSpan, WriteLarge, WriteSmall
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.records import Channel

WRONG = [
    ({"max_offload_share": 1.5}, "max_offload_share must lie in [0, 1], got 1.5"),
    ({"max_offload_share": "half"}, "max_offload_share must be a number such as 1"),
    ({"max_spans": -1}, "max_spans must be 0 or more, got -1"),
    ({"max_spans": 2.5}, "max_spans must be a whole number"),
    ({"max_spans": True}, "max_spans must be a whole number"),
    ({"max_usd": math.nan}, "max_usd must be 0 or more, got nan"),
    ({"max_span_s": math.inf}, "max_span_s must be 0 or more, got inf"),
    ({"deadline_s": "soon"}, "deadline_s must be a number"),
    ({"min_span_tokens": 0}, "min_span_tokens must be 1 or more, got 0"),
    ({"min_small_tokens": -1}, "min_small_tokens must be 0 or more"),
    ({"min_gap_tokens": None}, "min_gap_tokens must be a whole number"),
    ({"only_in_reasoning": 1}, "only_in_reasoning must be true or false"),
    ({"summary": 3}, "summary must be text"),
    ({"costs": 3}, "costs must be text"),
    ({"trigger": "sometimes"}, "unknown trigger 'sometimes'"),
    ({"close": "sometimes"}, "unknown close rule 'sometimes'"),
    ({"trigger": 0.4}, "trigger must be text in quotes"),
    ({"redact": ["email", "phne"]}, "unknown kind of text to redact 'phne'; did you mean 'phone'"),
    ({"redact": "email"}, "redact must be a list"),
    ({"ask_before": True}, "ask_before must be an AskRule such as AskRule()"),
    ({"rules": [{"when": {}}]}, "rules must hold Rule(when=, set=)"),
    ({"rules": [Rule(when={}, set={"max_span": 2})]}, "did you mean 'max_spans'"),
    ({"rules": [Rule(when={}, set={"max_spans": -2})]}, "max_spans must be 0 or more, got -2"),
    ({"rules": [Rule(when={}, set={"trigger": "tag"})]}, "unknown setting of a rule 'trigger'"),
    ({"models": {"*": Prices()}}, "the terms of model '*' must be ModelTerms"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_errors_name_the_setting_and_the_remedy(settings, said):
    with pytest.raises(SettingError) as caught:
        Policy(**settings)
    assert said in str(caught.value)
    assert caught.value.path[0] == next(iter(settings))
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AskRule(pattern="("), "not a valid regular expression"),
        (lambda: AskRule(pattern="no(?=w)"), "looks ahead or behind; write 'no(?:w)'"),
        (lambda: AskRule(pattern=r"(a)\1"), "refers back to a group; spell out what may repeat"),
        (lambda: AskRule(min_offload_share=2), "min_offload_share must lie in [0, 1]"),
        (lambda: AskRule(min_usd=-1), "min_usd must be 0 or more"),
        (lambda: AskRule(sample_rate=1.5), "sample_rate must lie in [0, 1]"),
        (lambda: AskRule(metadata={"tenant": 3}), "tenant must be text in quotes"),
        (lambda: Rule(when="acme", set={}), "when must name values"),
        (lambda: Rule(when={}, set=3), "set must name settings"),
        (lambda: Prices(input_usd=-1), "input_usd must be 0 or more"),
        (lambda: LatencyModel(0.1, 0), "tokens_per_s must be above 0"),
        (lambda: LatencyModel(-0.1, 1), "round_trip_s must be 0 or more"),
    ],
)
def test_errors_of_the_parts(make, said):
    with pytest.raises(SettingError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "text", "asks"),
    [
        ("^(a+)+$", "a" * 40, True),
        ("^(a+)+$", "a" * 40 + "!", False),
        ("(.*)*$!", "x" * 5000, False),
        (r"\b(prüfung|審査)\b", "die prüfung.", True),
        (r"\b(prüfung|審査)\b", "vorprüfung", False),
        (r"sure\.$", "I am\nsure.\n", True),
        (r"sure\.$", "sure.\nAm I", False),
        (r"^(?!.*\bdraft\b).*sign", "please sign", True),
        (r"^(?!.*\bdraft\b).*sign", "a draft to sign", False),
        (r"(?i)STRASSE", "Hauptſtraſſe", True),
    ],
)
def test_a_pattern_is_answered_at_once(pattern, text, asks):
    facts = Handover(request_id="r", span=0, seed=1, offload_share=0, cost_usd=0, text=text)
    assert AskRule(pattern=pattern).asks(facts) is asks


# Rules


def test_rules_apply_in_order_to_the_requests_they_name():
    policy = Policy(
        max_spans=8,
        rules=[
            Rule(when={"tenant": "acme"}, set={"max_spans": 2, "redact": ["email"]}),
            Rule(when={"tenant": "acme", "tier": "gold"}, set={"max_spans": None}),
        ],
    )
    assert policy.for_request({}) is policy
    assert policy.for_request({"tenant": "bolt"}) is policy
    acme = policy.for_request({"tenant": "acme", "user": "ann"})
    assert (acme.max_spans, acme.redact) == (2, ("email",))
    gold = policy.for_request({"tenant": "acme", "tier": "gold"})
    assert (gold.max_spans, gold.redact) == (None, ("email",))


def test_no_rule_outlives_a_time_out():
    rules = [Rule(when={"slow": "yes"}, set={"deadline_s": 90.0}), Rule(when={}, set={})]
    policy = Policy(rules=rules).within(5.0)
    assert policy.deadline_s == 5.0
    assert policy.for_request({"slow": "yes"}).deadline_s == 5.0
    lifted = Policy(deadline_s=3.0, rules=[Rule(when={}, set={"deadline_s": None})]).within(5.0)
    assert (lifted.deadline_s, lifted.for_request({}).deadline_s) == (3.0, 5.0)


def test_policies_can_be_keys():
    policy = Policy(rules=[Rule(when={"a": "b"}, set={})], models={"*": ModelTerms()})
    assert hash(policy) == hash(Policy(rules=(Rule(when={"a": "b"}, set={}),)))


# Gates and the clock of a span


def test_min_small_tokens_hold_the_first_span_back():
    machine = Machine(policy=Policy(min_small_tokens=20), max_tokens=100)
    assert machine.order() == WriteSmall(20, may_open=False)
    machine.note(SmallWrote(15))
    assert machine.order() == WriteSmall(5, may_open=False)
    machine.note(SmallWrote(5))
    assert machine.order() == WriteSmall(80, may_open=True)


def test_min_gap_tokens_keep_spans_apart_but_not_from_the_start():
    machine = Machine(policy=Policy(min_gap_tokens=6), max_tokens=100)
    assert machine.order() == WriteSmall(100, may_open=True)
    machine.note(SpanOpened("tag"))
    machine.note(LargeWrote(4, 0, 0))
    machine.note(SpanClosed("large"))
    assert machine.order() == WriteSmall(6, may_open=False)
    machine.note(SmallWrote(6))
    assert machine.order() == WriteSmall(90, may_open=True)


@pytest.mark.parametrize(
    ("channel", "order"),
    [
        (Channel.REASONING, WriteSmall(100, may_open=True)),
        (Channel.ANSWER, WriteSmall(100, may_open=False)),
        (Channel.TOOL_CALL, WriteSmall(100, may_open=False)),
        (None, WriteSmall(1, may_open=False)),
    ],
)
def test_only_in_reasoning(channel, order):
    machine = Machine(policy=Policy(only_in_reasoning=True), max_tokens=100)
    machine.at(0.0, channel=channel)
    assert machine.order() == order
    free = Machine(policy=Policy(), max_tokens=100)
    free.at(0.0, channel=channel)
    assert free.order() == WriteSmall(100, may_open=True)


def test_a_span_ends_with_the_reasoning():
    machine = Machine(policy=Policy(only_in_reasoning=True), max_tokens=100)
    machine.note(SpanOpened("tag"))
    assert isinstance(machine.order(), WriteLarge)
    machine.at(0.0, channel=Channel.ANSWER)
    assert machine.order() == CloseSpan("only_in_reasoning")


def test_a_span_ends_when_its_time_is_up_and_the_budget_lasts():
    machine = Machine(policy=Policy(max_span_s=2.0), max_tokens=100)
    machine.note(SpanOpened("tag"))
    machine.at(50.0, span_s=1.9)
    assert isinstance(machine.order(), WriteLarge)
    machine.at(50.2, span_s=2.0)
    assert machine.order() == CloseSpan("max_span_s")
    machine.note(SpanClosed("max_span_s"))
    machine.note(SmallWrote(1))
    assert machine.order() == WriteSmall(99, may_open=True)
    assert machine.exhausted == []


def test_without_time_no_span_opens():
    policy = Policy(max_span_s=0)
    assert policy.may_open(Ledger(), Prices()) == Room(0, "max_span_s")


# Terms


def test_terms_price_a_model_that_has_no_prices_of_its_own():
    known, any_other, own = Prices(1.0, 2.0), Prices(3.0, 4.0), Prices(0.0, 9.0)
    policy = Policy(models={"big": ModelTerms(prices=known), "*": ModelTerms(prices=any_other)})
    assert policy.prices_of("big", Prices()) == known
    assert policy.prices_of("huge", Prices()) == any_other
    assert policy.prices_of("big", own) == own
    assert Policy(models={"big": ModelTerms()}).prices_of("big", Prices()) == Prices()


def test_latency_counts_round_trips_and_tokens():
    assert LatencyModel(round_trip_s=0.25, tokens_per_s=40.0).seconds(100, 4) == 3.5


# Asking


def handover(**more):
    facts = {"request_id": "r", "span": 0, "seed": 1, "text": "sum up the contract"}
    return Handover(**{**facts, "offload_share": 0.1, "cost_usd": 0.02, **more})


@pytest.mark.parametrize(
    ("rule", "asks"),
    [
        (AskRule(), True),
        (AskRule(min_offload_share=0.1), True),
        (AskRule(min_offload_share=0.11), False),
        (AskRule(min_usd=0.02), True),
        (AskRule(min_usd=0.021), False),
        (AskRule(pattern="(?i)CONTRACT"), True),
        (AskRule(pattern="invoice"), False),
        (AskRule(metadata={"tenant": "acme"}), True),
        (AskRule(metadata={"tenant": "bolt"}), False),
        (AskRule(metadata={"user": "ann"}), False),
        (AskRule(min_usd=0.01, pattern="invoice"), False),
        (AskRule(sample_rate=0.0), False),
    ],
)
def test_all_conditions_must_hold(rule, asks):
    assert rule.asks(handover(metadata={"tenant": "acme"})) is asks


def test_sampling_is_a_share_and_the_same_again():
    rule = AskRule(sample_rate=0.25)
    places = [(seed, span) for seed in range(400) for span in range(10)]
    asked = [rule.asks(handover(seed=seed, span=span)) for seed, span in places]
    assert asked == [rule.asks(handover(seed=seed, span=span)) for seed, span in places]
    assert 0.23 < sum(asked) / len(asked) < 0.27

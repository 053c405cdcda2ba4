"""What is used where nobody named a trigger or a close rule, and what is refused."""

import logging

import pytest

from splitreason_integrations import Policy, Prices
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.tag_probe import Teaching
from splitreason_integrations.decide.closing import (
    Agrees,
    AutoClose,
    LowEntropy,
    StepEnd,
    TagClose,
)
from splitreason_integrations.decide.pricing import ModelTerms
from splitreason_integrations.decide.triggers import (
    Always,
    Auto,
    Disagreement,
    Entropy,
    Keyword,
    Never,
    Opening,
    Tag,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.loop import choice
from splitreason_integrations.loop.choice import Rules, Situation, choose, marks_spans
from splitreason_integrations.testing import ScriptedModel

TAUGHT = Teaching(True, True, "it gives the tag")
OPENS_ONLY = Teaching(True, False, "it never closes")
UNTAUGHT = Teaching(False, False, "it gives no tag")
BOTH = Gives.READING | Gives.WRITING
SERVER = Prices(input_usd=0.5, output_usd=1.0)


def model(name, gives=BOTH, **options):
    made = ScriptedModel("text", name=name, **options)
    made.gives = gives
    return made


def here(teaching=UNTAUGHT, *, small=BOTH, large=BOTH, asks_first=False, **options):
    reached = None if large is None else model("large", large, **options)
    return Situation(
        small=model("small", small), large=reached, teaching=teaching, asks_first=asks_first
    )


def named(trigger=None, close=None, **policy):
    return Rules(trigger=trigger or Auto(), close=close or AutoClose(), policy=Policy(**policy))


def test_a_taught_model_opens_and_closes_with_its_tags():
    rules = choose(named(), here(TAUGHT))
    assert (rules.trigger, rules.close) == (Tag(), TagClose())
    assert rules.policy == Policy()
    assert "small was taught to mark spans (it gives the tag)" in rules.reason


def test_a_model_that_opens_alone_gets_another_end():
    rules = choose(named(), here(OPENS_ONLY))
    assert (rules.trigger, rules.close) == (Tag(), Agrees() | StepEnd())


@pytest.mark.parametrize(
    ("trigger", "close"),
    [
        (Entropy(1.5), TagClose()),
        (Keyword("x"), TagClose()),
        (Tag() | Disagreement(), TagClose()),
        (Disagreement(), Agrees() | StepEnd()),
        (Disagreement() & Keyword("x"), Agrees() | StepEnd()),
    ],
)
def test_where_the_large_model_objects_the_small_one_agrees_again(trigger, close):
    assert choose(named(trigger), here(TAUGHT)).close == close


@pytest.mark.parametrize(
    ("trigger", "close", "teaching", "marks"),
    [
        (Auto(), AutoClose(), TAUGHT, True),
        (Auto(), Agrees(), TAUGHT, True),
        (Tag(), Agrees(), TAUGHT, True),
        (Entropy(1.5), AutoClose(), TAUGHT, True),
        (Entropy(1.5), TagClose(), TAUGHT, True),
        (Entropy(1.5), AutoClose(), OPENS_ONLY, False),
        (Entropy(1.5), Agrees(), TAUGHT, False),
        (Disagreement(), AutoClose(), TAUGHT, False),
        (Auto(), AutoClose(), UNTAUGHT, False),
        (Tag(), TagClose(), UNTAUGHT, False),
        (Never(), AutoClose(), None, False),
    ],
)
def test_tags_are_shown_around_learned_spans(trigger, close, teaching, marks):
    assert marks_spans(trigger, close, teaching) is marks


def test_the_large_model_reads_along_for_an_untaught_one():
    rules = choose(named(max_span_tokens=None), here())
    assert (rules.trigger, rules.close) == (Disagreement(0.1), Agrees() | StepEnd())
    assert rules.policy.max_offload_share is None
    assert rules.policy.max_span_tokens == 256
    assert "never taught" in rules.reason
    assert "it gives no tag" in rules.reason


@pytest.mark.parametrize(
    ("situation", "policy", "because"),
    [
        ({"large": Gives.NOTHING}, {}, "large gives no probabilities of what it reads"),
        ({"large": None}, {}, "no large model could be reached"),
        ({"asks_first": True}, {}, "a person is asked"),
        ({"prices": SERVER}, {}, "has a price, and the policy sets no max_usd"),
        ({}, {"models": {"large": ModelTerms(prices=SERVER)}}, "has a price"),
    ],
)
def test_nothing_is_spent_or_shown_unasked(situation, policy, because):
    rules = choose(named(**policy), here(**situation))
    assert rules.trigger == Entropy(1.5)
    assert rules.close == Agrees() | StepEnd()
    assert rules.policy.max_offload_share == 0.2
    assert because in rules.reason
    assert "20%" in rules.reason


@pytest.mark.parametrize(
    ("prices", "policy"),
    [(SERVER, {"max_usd": 0.1}), (Prices(output_usd=1.0), {}), (Prices(), {})],
)
def test_reading_that_is_allowed_or_free_is_used(prices, policy):
    rules = choose(named(**policy), here(prices=prices))
    assert rules.trigger == Disagreement(0.1)
    assert rules.policy.max_offload_share is None


@pytest.mark.parametrize(("own", "share"), [(None, 0.2), (0.5, 0.2), (0.05, 0.05)])
def test_the_share_is_the_lower_one(own, share):
    rules = choose(named(max_offload_share=own), here(large=Gives.NOTHING))
    assert rules.policy.max_offload_share == share


def test_without_any_probabilities_the_large_model_writes_the_opening():
    rules = choose(named(), here(small=Gives.NOTHING, large=Gives.NOTHING))
    assert (rules.trigger, rules.close) == (Opening(64), StepEnd())
    assert rules.policy.max_offload_share == 0.2


@pytest.mark.parametrize(("own", "most"), [(None, 256), (0, 0), (12, 12)])
def test_a_span_without_a_learned_end_has_a_cap(own, most):
    rules = choose(named(max_span_tokens=own), here())
    assert rules.policy.max_span_tokens == most


@pytest.mark.parametrize("trigger", [Tag(), Entropy(2.0), Keyword("x"), Opening(8)])
@pytest.mark.parametrize("teaching", [TAUGHT, UNTAUGHT])
def test_what_is_named_is_never_replaced(trigger, teaching):
    rules = choose(named(trigger, LowEntropy(0.1), max_span_tokens=None), here(teaching))
    assert rules == named(trigger, LowEntropy(0.1), max_span_tokens=None)


@pytest.mark.parametrize("trigger", [Never(), Always()])
def test_where_no_span_is_handed_back_nothing_is_chosen(trigger):
    rules = choose(named(trigger), here(None))
    assert rules.trigger == trigger
    assert rules.reason is None


@pytest.mark.parametrize(
    ("trigger", "close", "situation", "remedy"),
    [
        (Disagreement(), None, {"asks_first": True}, "HumanCheck"),
        (Keyword("x") | Disagreement(), None, {"asks_first": True}, "HumanCheck"),
        (Disagreement(), None, {"large": Gives.WRITING}, "large gives no probabilities"),
        (Entropy(1.5), None, {"small": Gives.NOTHING}, "small is on a server"),
        (Tag(0.5), None, {"small": Gives.READING}, "small is on a server"),
        (None, LowEntropy(0.5), {"small": Gives.WRITING}, "close='step'"),
        (None, StepEnd() & Agrees(), {"small": Gives.NOTHING}, "close='step'"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(trigger, close, situation, remedy):
    with pytest.raises(ConfigurationError, match=remedy):
        choose(named(trigger, close), here(**situation))


@pytest.mark.parametrize(
    ("trigger", "waits"),
    [
        (Tag(), True),
        (Tag(0.2), True),
        (Tag(0.001), False),
        (Tag() & Keyword("x"), True),
        (Tag() | Tag(0.5), True),
        (Tag() | Keyword("x"), False),
        (Keyword("x"), False),
    ],
)
def test_a_trigger_that_can_do_nothing_is_warned_of_once(trigger, waits, caplog, monkeypatch):
    monkeypatch.setattr(choice, "_warned", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            choose(named(trigger), here())
        choose(named(trigger), here(TAUGHT))
    assert [record.message.partition(":")[0] for record in caplog.records] == (
        ["small was never taught to mark spans"] * waits
    )

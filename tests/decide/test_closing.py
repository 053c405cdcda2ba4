import pytest

from splitreason_integrations.decide.closing import (
    Agrees,
    CloseNeeds,
    CloseRule,
    LowEntropy,
    OwnToken,
    SpanPlace,
    StepEnd,
    TagClose,
)
from splitreason_integrations.errors import ConfigurationError

YES, NO = OwnToken(0.6, True), OwnToken(0.3, False)


def test_the_tag_closes_above_its_threshold():
    closes = [TagClose(0.5).closes(SpanPlace(close_probability=p)) for p in (0.5, 0.51)]
    assert closes == [False, True]
    assert TagClose(0.5).needs == CloseNeeds.CLOSE_PROBABILITY
    assert TagClose().uses_tag


def test_nothing_is_read_along_where_the_tag_cannot_close():
    assert TagClose(1).needs == CloseNeeds.NOTHING
    assert not TagClose(1).closes(SpanPlace(close_probability=1.0))


@pytest.mark.parametrize(
    ("rule", "own", "closes"),
    [
        (Agrees(), (), False),
        (Agrees(), (NO, YES), True),
        (Agrees(), (YES, NO), False),
        (Agrees(2), (YES,), False),
        (Agrees(2), (NO, YES, YES), True),
        (Agrees(2), (YES, NO, YES), False),
        (Agrees(probability=0.3), (NO,), True),
        (Agrees(probability=0.31), (NO,), False),
        (Agrees(2, probability=0.6), (NO, YES), False),
        (Agrees(2, probability=0.6), (NO, YES, YES), True),
    ],
)
def test_agreement_with_the_last_tokens(rule, own, closes):
    assert rule.closes(SpanPlace(own=own)) is closes
    assert rule.needs == CloseNeeds.OWN


def test_low_entropy_of_what_comes_next():
    assert LowEntropy(0.5).closes(SpanPlace(entropy=0.4))
    assert not LowEntropy(0.5).closes(SpanPlace(entropy=0.5))
    assert not LowEntropy(0.5).closes(SpanPlace())


@pytest.mark.parametrize(
    ("text", "new", "closes"),
    [
        ("It is nine.", ".", True),
        ("It is nine. ", " ", False),
        ("It is nine.\n", "\n", True),
        ("It is nine.\n\nSo", ".\n\nSo", True),
        ("It is nine. So", " So", False),
        ("It is 3.", ".", False),
        ("It is 3. So", ". So", True),
        ("It is 3.5 so", ".5 so", False),
        ("", "", False),
    ],
)
def test_a_step_ends_in_what_is_new(text, new, closes):
    assert StepEnd().closes(SpanPlace(text=text, new_text=new)) is closes
    assert StepEnd().needs == CloseNeeds.TEXT


def test_joined_rules():
    either, both = Agrees() | StepEnd(), TagClose() & LowEntropy(1.0)
    assert either.closes(SpanPlace(own=(YES,)))
    assert either.closes(SpanPlace(text="so.", new_text="."))
    assert not either.closes(SpanPlace(own=(NO,)))
    assert not both.closes(SpanPlace(close_probability=0.9))
    assert both.closes(SpanPlace(close_probability=0.9, entropy=0.1))
    assert either.needs == CloseNeeds.OWN | CloseNeeds.TEXT
    assert both.uses_tag
    assert not either.uses_tag


def test_a_close_rule_must_say_when():
    with pytest.raises(TypeError, match="must define closes"):
        CloseRule().closes(SpanPlace())


@pytest.mark.parametrize(
    "make",
    [
        lambda: TagClose(1.5),
        lambda: TagClose("0.5"),
        lambda: Agrees(0),
        lambda: Agrees(1.5),
        lambda: Agrees(probability=2),
        lambda: LowEntropy(-1),
        lambda: LowEntropy(float("nan")),
    ],
)
def test_a_value_out_of_range_is_refused(make):
    with pytest.raises(ConfigurationError):
        make()

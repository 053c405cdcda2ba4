import pytest

from splitreason_integrations.decide.triggers import (
    Always,
    Entropy,
    Keyword,
    Needs,
    Never,
    Position,
    Random,
    Tag,
    Trigger,
    parse_trigger,
)
from splitreason_integrations.errors import ConfigurationError


def test_tag_is_the_models_own_choice():
    assert Tag().fires(Position(0, tag_chosen=True))
    assert not Tag().fires(Position(0, open_probability=0.99))
    assert Tag().needs == Needs.NOTHING


def test_threshold_is_one_knob():
    at = Position(0, open_probability=0.3)
    assert [Tag(threshold=t).fires(at) for t in (0.0, 0.2, 0.3, 1.0)] == [True, True, False, False]


def test_entropy_fires_where_the_next_token_is_unsure():
    trigger = Entropy(above=1.0)
    assert trigger.fires(Position(3, entropy=1.5))
    assert not trigger.fires(Position(3, entropy=0.5))


def test_random_goes_by_seed_and_position():
    fired = [Random(0.3).fires(Position(i, seed=1)) for i in range(2000)]
    assert fired == [Random(0.3).fires(Position(i, seed=1)) for i in range(2000)]
    assert fired != [Random(0.3).fires(Position(i, seed=2)) for i in range(2000)]
    assert 0.25 < sum(fired) / 2000 < 0.35


def test_keyword_ends_here():
    trigger = Keyword(r"= ")
    assert trigger.fires(Position(0, line="47*23 = "))
    assert not trigger.fires(Position(0, line="47*23 = 1"))


def test_joined_triggers():
    either, both = Tag() | Never(), Tag(threshold=0.5) & Entropy(above=1.0)
    assert either.fires(Position(0, tag_chosen=True))
    assert not both.fires(Position(0, open_probability=0.9, entropy=0.5))
    assert both.fires(Position(0, open_probability=0.9, entropy=1.5))
    assert both.needs == Needs.OPEN_PROBABILITY | Needs.ENTROPY
    assert both.uses_tag
    assert not (Never() | Always()).uses_tag
    assert str(both) == "(tag>0.5 & entropy>1)"


@pytest.mark.parametrize(
    "text", ["tag", "tag>0.2", "entropy>1.5", "random:0.05", "keyword:= ", "always", "never"]
)
def test_text_round_trip(text):
    assert str(parse_trigger(text)) == text


@pytest.mark.parametrize(
    "text", ["", "tags", "tag>x", "tag>2", "random:-1", "keyword:(", "keyword:"]
)
def test_bad_text_is_refused(text):
    with pytest.raises(ConfigurationError):
        parse_trigger(text)


def test_a_trigger_must_say_when():
    with pytest.raises(TypeError, match="must define fires"):
        Trigger().fires(Position(0))

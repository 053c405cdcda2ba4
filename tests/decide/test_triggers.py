import pytest

from splitreason_integrations.decide.triggers import (
    Always,
    Confidence,
    Disagreement,
    Entropy,
    Keyword,
    Loop,
    Needs,
    Never,
    Opening,
    Position,
    Random,
    StepEntropy,
    Tag,
    Trigger,
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


@pytest.mark.parametrize(
    ("pattern", "line", "fires"),
    [
        ("(a+)+$", "a" * 40, True),
        ("(a+)+b", "a" * 40, False),
        (r"(\w+\s?)*:", "word " * 500, False),
        (r"(?i)\bdonc\b ", "Été, DONC ", True),
        (r"\bété", "prété", False),
        ("(?x) = [ ] # an equals sign", "2+2 =", False),
        ("(?x) = [ ] # an equals sign", "2+2 =  = ", True),
        ("^So ", "So ", True),
        ("^So ", "And So ", False),
    ],
)
def test_a_keyword_is_answered_at_once(pattern, line, fires):
    assert Keyword(pattern).fires(Position(0, line=line)) is fires


def test_a_keyword_that_cannot_be_searched_in_linear_time_is_refused():
    with pytest.raises(ConfigurationError, match=r"Keyword pattern .* write 'a\(\?:b\)'"):
        Keyword("a(?=b)")
    with pytest.raises(ConfigurationError, match="Keyword pattern must be text in quotes, got 3"):
        Keyword(3)


def test_joined_triggers():
    either, both = Tag() | Never(), Tag(threshold=0.5) & Entropy(above=1.0)
    assert either.fires(Position(0, tag_chosen=True))
    assert not both.fires(Position(0, open_probability=0.9, entropy=0.5))
    assert both.fires(Position(0, open_probability=0.9, entropy=1.5))
    assert both.needs == Needs.OPEN_PROBABILITY | Needs.ENTROPY
    assert both.uses_tag
    assert not (Never() | Always()).uses_tag
    assert str(both) == "(tag>0.5 & entropy>1)"


def test_confidence_fires_where_the_chosen_token_is_improbable():
    trigger = Confidence(below=0.4)
    assert trigger.fires(Position(3, confidence=0.39))
    assert not trigger.fires(Position(3, confidence=0.4))
    assert not trigger.fires(Position(3))
    assert trigger.needs == Needs.CONFIDENCE


def test_disagreement_wants_another_token_that_is_likelier():
    trigger = Disagreement()
    assert trigger.fires(Position(0, large_probability=0.09, large_likeliest=False))
    assert not trigger.fires(Position(0, large_probability=0.09, large_likeliest=True))
    assert not trigger.fires(Position(0, large_probability=0.1, large_likeliest=False))
    assert trigger.needs == Needs.LARGE


def test_disagreement_does_not_fire_before_the_large_model_has_read():
    assert not Disagreement(below=1.0).fires(Position(0))


@pytest.mark.parametrize(
    ("text", "chosen", "fires"),
    [
        ("", "First", True),
        ("It is so.", " Then", True),
        ("It is so. ", "Then", True),
        ("It is so.", " ", False),
        ("It is", " so", False),
        ("a = 3\n", "b", True),
        ("a = 3", "\n", False),
        ("a = 3", "\nb", True),
        ("pi is 3.", "14", False),
        ("See e.g.", " this", False),
        ("彼は来た。", "私", True),
        ("彼は来た", "私", False),
    ],
)
def test_step_entropy_asks_at_the_first_token_of_a_step(text, chosen, fires):
    trigger = StepEntropy(above=1.0)
    assert trigger.fires(Position(9, entropy=1.5, text=text, chosen=chosen)) is fires
    assert not trigger.fires(Position(9, entropy=1.0, text=text, chosen=chosen))
    assert trigger.needs == Needs.ENTROPY | Needs.TEXT


LINE = "so the sum of all the parts is nine "


@pytest.mark.parametrize(
    ("text", "chosen", "fires"),
    [
        (LINE * 3, "so", True),
        (LINE * 2, "so", False),
        (LINE * 2 + "but " + LINE, "so", True),
        (LINE * 3 + "not", " ten", False),
        ((LINE * 3).rstrip(), "teen", False),
        ("Wait, let me see.\n" * 3, "Wait", True),
        ("Wait, let me see.\n" * 2 + "Wait, let me try.\n", "Wait", False),
        ("Wait.\n" * 4 + "Go on.\n", "Wait", False),
        ("我们再算一次这个题" * 3, "我", True),
        ("47 * 23 = 47 * 20 + 47 * 3", " =", False),
        ("", "So", False),
        ("\n" * 50, "So", False),
    ],
)
def test_loop_fires_where_words_or_a_step_come_again(text, chosen, fires):
    assert Loop().fires(Position(9, text=text, chosen=chosen)) is fires


def test_loop_counts_as_it_is_asked_to():
    at = Position(9, text="a b a b", chosen=" a")
    assert Loop(words=2, times=2).fires(at)
    assert not Loop(words=2, times=3).fires(at)
    assert not Loop(words=3, times=2).fires(at)


def test_opening_gives_the_length_of_its_span():
    assert Opening(tokens=32).fires(Position(0))
    assert not Opening(tokens=32).fires(Position(1))
    assert Opening(tokens=32).span_tokens(Position(0)) == 32
    assert Tag().span_tokens(Position(0)) is None


def test_a_join_passes_the_length_of_the_side_that_fires():
    start, later = Position(0), Position(5, tag_chosen=True)
    assert (Opening(8) | Tag()).span_tokens(start) == 8
    assert (Tag() | Opening(8)).span_tokens(start) == 8
    assert (Opening(8) | Tag()).span_tokens(later) is None
    assert (Always() | Opening(8)).span_tokens(start) is None
    assert (Random(1.0) & Opening(8)).span_tokens(start) == 8


@pytest.mark.parametrize(
    "make",
    [
        lambda: Confidence(1.5),
        lambda: Confidence("0.4"),
        lambda: Disagreement(-0.1),
        lambda: Disagreement(float("nan")),
        lambda: Entropy(float("nan")),
        lambda: StepEntropy("1"),
        lambda: Loop(words=0),
        lambda: Loop(times=1),
        lambda: Opening(0),
        lambda: Opening(2.5),
    ],
)
def test_a_value_out_of_range_is_refused(make):
    with pytest.raises(ConfigurationError):
        make()


def test_a_trigger_must_say_when():
    with pytest.raises(TypeError, match="must define fires"):
        Trigger().fires(Position(0))

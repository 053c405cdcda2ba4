"""The text of triggers and of close rules: one grammar for both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations.decide.closing import (
    Agrees,
    LowEntropy,
    StepEnd,
    TagClose,
    parse_close,
)
from splitreason_integrations.decide.triggers import (
    Always,
    Confidence,
    Disagreement,
    Entropy,
    Keyword,
    Loop,
    Never,
    Opening,
    Random,
    StepEntropy,
    Tag,
    parse_trigger,
)
from splitreason_integrations.errors import ConfigurationError

shares = st.floats(0, 1)
counts = st.integers(1, 10**6)
nats = st.floats(allow_nan=False)
patterns = st.one_of(
    st.sampled_from(['"', '""', '"a" | tag', '"a"|', "a|b", "(a&b)", r"\"", r'x\\"', ' = "', "\n"]),
    st.text("ab\"|& =:.\\'", min_size=1).filter(lambda text: "\\" not in text and text != "."),
)


def keyword(pattern):
    """Return a trigger on this text as it is, or as a pattern where that is a valid one."""
    try:
        return Keyword(pattern)
    except ConfigurationError:
        return Keyword("a")


triggers = st.recursive(
    st.one_of(
        st.sampled_from([Tag(), Always(), Never(), Disagreement(), Loop(), Opening()]),
        st.builds(Tag, shares),
        st.builds(Entropy, nats),
        st.builds(StepEntropy, nats),
        st.builds(Confidence, shares),
        st.builds(Disagreement, shares),
        st.builds(Random, shares),
        st.builds(Loop, counts, st.integers(2, 99)),
        st.builds(Opening, counts),
        st.builds(keyword, patterns),
    ),
    lambda some: st.one_of(
        st.builds(lambda a, b: a | b, some, some), st.builds(lambda a, b: a & b, some, some)
    ),
    max_leaves=8,
)
close_rules = st.recursive(
    st.one_of(
        st.just(StepEnd()),
        st.builds(TagClose, shares),
        st.builds(Agrees, counts, st.none() | shares),
        st.builds(LowEntropy, st.floats(0, 1e300)),
    ),
    lambda some: st.one_of(
        st.builds(lambda a, b: a | b, some, some), st.builds(lambda a, b: a & b, some, some)
    ),
    max_leaves=8,
)


@given(triggers)
def test_a_triggers_text_describes_it(trigger):
    assert parse_trigger(str(trigger)) == trigger


@given(close_rules)
def test_a_close_rules_text_describes_it(rule):
    assert parse_close(str(rule)) == rule


@given(st.text('tag|&()"keyword:<>0.1 '))
def test_any_text_is_read_or_refused(text):
    for parse in (parse_trigger, parse_close):
        try:
            rule = parse(text)
        except ConfigurationError:
            continue
        assert parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "tag",
        "tag>0.2",
        "disagreement<0.1",
        "entropy>1.5",
        "step-entropy>1.2",
        "confidence<0.4",
        "loop",
        "loop:12x2",
        "opening:64",
        "random:0.05",
        "keyword:= ",
        "always",
        "never",
        "(tag | entropy>1.5)",
        '(keyword:"= " & random:0.5)',
    ],
)
def test_a_trigger_text_is_kept(text):
    assert str(parse_trigger(text)) == text


@pytest.mark.parametrize(
    "text",
    ["tag>0.5", "agrees", "agrees:2", "agrees>0.9", "agrees:2>0.9", "entropy<0.5", "step"],
)
def test_a_close_text_is_kept(text):
    assert str(parse_close(text)) == text


def test_a_name_alone_has_the_default():
    assert parse_trigger("disagreement") == Disagreement(below=0.1)
    assert parse_trigger("opening") == Opening(tokens=64)
    assert parse_trigger("loop:5") == Loop(words=5)
    assert parse_close("tag") == TagClose(above=0.5)
    assert parse_close("entropy") == LowEntropy(below=0.5)


A, B, C = Tag(0.1), Entropy(1.0), Loop()


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("tag>0.1 | entropy>1 & loop", A | (B & C)),
        ("tag>0.1 & entropy>1 | loop", (A & B) | C),
        ("(tag>0.1 | entropy>1) & loop", (A | B) & C),
        ("tag>0.1|entropy>1|loop", (A | B) | C),
        ("tag>0.1 | (entropy>1 | loop)", A | (B | C)),
        (" ( ( tag>0.1 ) ) ", A),
    ],
)
def test_and_binds_before_or_and_parentheses_group(text, trigger):
    assert parse_trigger(text) == trigger


def test_close_rules_join_likewise():
    assert parse_close("agrees:2 | entropy<0.5 & step") == Agrees(2) | (LowEntropy(0.5) & StepEnd())


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("keyword:a|b", Keyword("a|b")),
        ("keyword:= | tag", Keyword("= | tag")),
        ('keyword:say "x"', Keyword('say "x"')),
        ('keyword:"x"', Keyword('"x"')),
        ('keyword:"= " | tag', Keyword("= ") | Tag()),
        ('keyword:"a|b" & tag', Keyword("a|b") & Tag()),
        ('tag | keyword:"(x)&""y"""', Tag() | Keyword('(x)&"y"')),
        (r'tag | keyword:"\d\\"', Tag() | Keyword(r"\d\\")),
        ('(keyword:"x")', Keyword("x")),
    ],
)
def test_a_keyword_alone_runs_to_the_end_and_is_quoted_in_a_join(text, trigger):
    assert parse_trigger(text) == trigger


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "unknown trigger '': use tag, tag>0.2, disagreement<0.1"),
        ("tags", "unknown trigger 'tags': use tag"),
        ("entropy<1", "unknown trigger 'entropy<1': use tag"),
        ("tag>x", "'x' is not a number such as 0.5"),
        ("tag>2", r"must lie in \[0, 1\]"),
        ("random:-1", r"must lie in \[0, 1\]"),
        ("entropy>nan", "number of nats"),
        ("opening:2.5", "'2.5' is not a whole number such as 2"),
        ("opening:0", "must be 1 or more"),
        ("loop:8x1", "must be 2 or more"),
        ("keyword:(", "Keyword pattern"),
        ("keyword:", "matches empty text"),
        ("tag |", "a trigger is missing at the end"),
        ("| tag", r"there is no trigger before '\|'"),
        ("tag || loop", r"there is no trigger before '\|'"),
        ("tag loop", r"write \| or & before 'loop'"),
        ("tag > 0.2", r"write \| or & before '>', and no spaces within a trigger"),
        ("tag (loop)", r"write \| or & before '\('"),
        ("(tag", r"add '\)'"),
        ("tag)", r"remove it, or add '\('"),
        ("()", r"there is no trigger before '\)'"),
        ("tag | keyword:= ", 'pattern is put in double quotes, as in keyword:"= "'),
        ('tag | keyword: "="', "pattern is put in double quotes"),
        ('tag | keyword:"=', "ends with a quote"),
        ('tag | "="', "follows its rule at once"),
        (" | ".join(["tag"] * 101), "join at most 100"),
    ],
)
def test_an_error_names_the_remedy(text, remedy):
    with pytest.raises(ConfigurationError, match=remedy):
        parse_trigger(text)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("close", "unknown close rule 'close': use tag>0.5, agrees"),
        ("tag>1.5", r"must lie in \[0, 1\]"),
        ("agrees:0", "must be 1 or more"),
        ("agrees:x", "'x' is not a whole number"),
        ("agrees>2", r"must lie in \[0, 1\]"),
        ("entropy<-1", "must be 0 or more"),
        ("step |", "a close rule is missing at the end"),
    ],
)
def test_an_error_of_a_close_rule_names_the_remedy(text, remedy):
    with pytest.raises(ConfigurationError, match=remedy):
        parse_close(text)


def test_parentheses_may_be_deep():
    assert parse_trigger("(" * 5000 + "tag" + ")" * 5000) == Tag()


@pytest.mark.parametrize(
    ("parse", "joined"), [(parse_trigger, "auto | tag"), (parse_close, "step & auto")]
)
def test_auto_joins_with_nothing(parse, joined):
    assert parse("auto").is_auto
    assert str(parse("auto")) == "auto"
    with pytest.raises(ConfigurationError, match="by itself"):
        parse(joined)

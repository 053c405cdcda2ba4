"""Placement of snippets and tags, on chosen and on random cases."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.annotation.finishing import Finish, Finisher
from splitreason_integrations.annotation.placement import MAX_QUOTES, How, Quote, Reject, place
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.annotation.steps import Align, steps
from splitreason_integrations.annotation.synthetic import traces
from splitreason_integrations.annotation.tagging import Span, align, merge, tag, tighten, untag

TRACE = (
    "First I read the task. Then 47*23 = 1081, I think.\nWait: 47*23 = 1081 – yes.\n"
    "So the “answer” is  1081.\n\n1. It costs approx. 3.50 e.g. here. Done!"
)
TEXTS = st.text(
    st.one_of(st.sampled_from("ab .\n1é\u0301“”\t–ﬁ\u200d👩🔬国"), st.characters(codec="utf-8")),
    max_size=120,
)


def placed(trace, *snippets, **options):
    found = place(trace, [Quote(one) for one in snippets], **options)
    return [trace[s.start : s.end] for s in found.spans], found.how, found.rejected


def test_the_same_words_twice_are_two_places():
    found = place(TRACE, [Quote("47*23 = 1081"), Quote("47*23 = 1081"), Quote("47*23 = 1081")])
    assert [span.start for span in found.spans] == [TRACE.index("47"), TRACE.rindex("47")]
    assert found.rejected == [Reject.REPEATED]


def test_a_later_place_is_preferred_to_an_earlier_one():
    trace = "x = 1. a. x = 1. b. y = 2."
    assert [s.start for s in place(trace, [Quote("a."), Quote("x = 1.")]).spans] == [7, 10]
    assert [s.start for s in place(trace, [Quote("b."), Quote("x = 1.")]).spans] == [17, 0]


@pytest.mark.parametrize(
    ("snippet", "how"),
    [
        ("Then 47*23 = 1081, I think.", How.EXACT),
        ("  Then 47*23\n\t= 1081,  I THINK. ", How.NORMALISED),
        ("47*23 = 1081 - yes", How.NORMALISED),
        ('So the "answer" is 1081.', How.NORMALISED),
        ("Then 47*23 equals 1081, I think.", How.FUZZY),
    ],
)
def test_how_a_snippet_is_found(snippet, how):
    (text,), ways, rejected = placed(TRACE, snippet, cutoff=80)
    assert ways == [how]
    assert not rejected
    assert "1081" in text
    assert TRACE.count(text) >= 1


@pytest.mark.parametrize(
    ("snippet", "reason"),
    [
        (" \n", Reject.EMPTY),
        ("\u200b", Reject.EMPTY),
        ("quite another thing altogether", Reject.NOT_FOUND),
        ("zzz", Reject.NOT_FOUND),
        ("a" * 20_001, Reject.TOO_LONG),
    ],
)
def test_missing_snippets_are_rejected(snippet, reason):
    assert placed(TRACE, snippet) == ([], [], [reason])


def test_the_number_of_snippets_is_limited():
    found = place("a b " * 400, [Quote("a b")] * (MAX_QUOTES + 3))
    assert found.rejected == [Reject.TOO_MANY] * 3
    assert len(found.spans) == MAX_QUOTES


def test_a_fuzzy_place_ends_with_its_words():
    trace = "Now the elasticity of demand is computed from both prices. Next."
    (text,), (how,), _ = placed(
        trace, "he elasticity of demnd is computed from both pri", cutoff=85
    )
    assert how is How.FUZZY
    assert text == "the elasticity of demand is computed from both prices"


def test_a_character_keeps_its_accents():
    trace = "e\u0301te\u0301 👩\u200d🔬 x"
    assert tighten(trace, Span(0, 1)) == Span(0, 2)
    assert tighten(trace, Span(6, 7)) == Span(6, 9)
    assert tighten(trace, Span(8, 9)) == Span(6, 9)
    assert tighten(trace, Span(5, 6)) is None


def test_steps_are_sentences_and_lines():
    sentences = [TRACE[s.start : s.end] for s in steps(TRACE, Align.SENTENCE)]
    assert sentences == [
        "First I read the task.",
        "Then 47*23 = 1081, I think.",
        "Wait: 47*23 = 1081 – yes.",
        "So the “answer” is  1081.",
        "1. It costs approx. 3.50 e.g. here.",
        "Done!",
    ]
    lines = [TRACE[s.start : s.end] for s in steps(TRACE, Align.LINE)]
    assert lines == [line for line in TRACE.split("\n") if line]
    assert len(steps("Is it so? No. Dr. Who (Fig. 3) said 3.5!", Align.SENTENCE)) == 3
    assert steps("完了。次に進む。", Align.SENTENCE) == [Span(0, 3), Span(3, 8)]


def test_spans_extend_over_the_steps_that_they_touch():
    borders = steps(TRACE, Align.SENTENCE)
    at = TRACE.index("1081, I")
    assert align(Span(at, at + 4), borders) == borders[1]
    assert align(Span(borders[0].end - 1, at), borders) == Span(0, borders[1].end)
    assert align(Span(3, 5), []) == Span(3, 5)


def test_neighbours_are_joined_and_the_higher_score_stays():
    text = "aa bb\ncc"
    spans = [Span(3, 5, 0.2), Span(0, 2, 0.7), Span(6, 8)]
    assert merge(text, spans) == [Span(0, 5, 0.7), Span(6, 8)]
    assert tag(text, merge(text, spans)) == "<bigmodel>aa bb</bigmodel>\n<bigmodel>cc</bigmodel>"


@pytest.mark.parametrize("spans", [[Span(2, 4), Span(3, 5)], [Span(4, 4)], [Span(3, 9)]])
def test_tags_refuse_spans_that_would_nest(spans):
    with pytest.raises(ValueError, match="out of order or outside"):
        tag("abcdefgh", spans)


def well_formed(tagged):
    inside = False
    for found in re.finditer("</?bigmodel>", tagged):
        assert inside is found.group().startswith("</")
        inside = not inside
    assert not inside


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.lists(TEXTS, max_size=6), st.data(), st.sampled_from(list(Align)))
def test_a_tagged_trace_is_the_trace(text, others, data, aligned):
    trace = f"x{text}"
    places = st.tuples(st.integers(0, len(trace)), st.integers(0, len(trace)))
    cuts = [sorted(one) for one in data.draw(st.lists(places, max_size=6))]
    quotes = [Quote(trace[a:b]) for a, b in cuts] + [Quote(one) for one in others]
    spans = tuple(Span(a, b, 0.5) for a, b in cuts if a < b)
    row = Row(0, {"question": "?", "trace": trace}, trace, ())
    finisher = Finisher(Finish("test", "0", align=aligned, cutoff=60))
    tally, line = finisher.finish(row, Found(spans=spans, quotes=tuple(quotes)))
    written = json.loads(line)
    if tally.refused:
        assert "tagged" not in written
        return
    assert untag(written["tagged"]) == trace
    well_formed(written["tagged"])
    ends = [place for span in written["spans"] for place in span]
    assert ends == sorted(set(ends))
    for start, end in written["spans"]:
        assert trace[start:end] == trace[start:end].strip()
        assert f"<bigmodel>{trace[start:end]}</bigmodel>" in written["tagged"]
    counts = tally.placed, tally.unplaced
    assert sum(sum(one.values()) for one in counts) == len(quotes)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.from_regex(r"[a-z]{3,9}( [a-z]{2,9}){2,5}\.", fullmatch=True), min_size=3),
    st.data(),
)
def test_quotes_in_order_are_found_exactly(sentences, data):
    trace = " ".join(sentences)
    chosen = data.draw(st.lists(st.sampled_from(range(len(sentences))), unique=True))
    found = place(trace, [Quote(sentences[at]) for at in sorted(chosen)])
    assert found.how == [How.EXACT] * len(chosen)
    for span, at in zip(found.spans, sorted(chosen), strict=True):
        assert trace[span.start : span.end] == sentences[at]


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.sampled_from([Align.SENTENCE, Align.LINE]))
def test_steps_hold_all_text_in_order(text, kind):
    found = steps(text, kind)
    ends = [place for step in found for place in (step.start, step.end)]
    assert ends == sorted(ends)
    covered = "".join(text[s.start : s.end] for s in found)
    assert re.sub(r"\s", "", covered) == re.sub(r"\s", "", text)


def test_a_span_inside_a_line_stays_inside_where_nothing_is_aligned():
    row = Row(0, {"trace": TRACE}, TRACE, ())
    finisher = Finisher(Finish("test", "0", align=Align.NONE))
    _, line = finisher.finish(row, Found(quotes=(Quote("= 1081"), Quote("yes"))))
    assert line.decode().count("<bigmodel>= 1081</bigmodel>") == 1
    assert line.decode().count("<bigmodel>yes</bigmodel>") == 1


def test_long_synthetic_traces_are_placed_right():
    for row in traces(n=20, tokens=2000, seed=1):
        found = place(row["trace"], [Quote(one) for one in row["snippets"]])
        assert not found.rejected
        for span, kind, gold in zip(found.spans, row["kinds"], row["gold_spans"], strict=True):
            assert kind != "exact" or [span.start, span.end] == gold

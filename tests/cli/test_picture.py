"""A picture of one reply: both authors told apart, any text escaped, no other host asked."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splitreason_integrations.cli.picture import COLUMNS, ReplyPicture, glyphs, wrapped
from splitreason_integrations.records import Author, Channel, Delta

ROOT = Path(__file__).parent.parent.parent
MIA = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [(one.text, one.get("font-weight")) for one in ET.fromstring(svg).iter(f"{SVG}text")]


def drawn(*pieces, question="What?", facts="3 tokens"):
    picture = ReplyPicture(question)
    for author, text in pieces:
        picture.add(Delta(text, (), author, Channel.REASONING))
    return picture.svg(facts)


def test_a_reply_of_the_pair(run, tmp_path):
    path = tmp_path / "reply.svg"
    done = run("ask", MIA, "--picture", str(path))
    large = re.findall("⟦(.*?)⟧", done.out)
    svg = path.read_text("utf-8")
    bold = [text for text, weight in texts(svg) if weight == "bold"]
    assert large
    assert [*(one.strip() for one in large), "large model"] == bold
    again = tmp_path / "again.svg"
    facts = json.loads(run("ask", MIA, "--picture", str(again), "--json").out)
    assert again.read_text("utf-8") == svg
    share = f"{facts['tokens']['large']} by the large model ({facts['offload_share']:.1%})"
    assert share in " ".join(text for text, _ in texts(svg))


def test_the_committed_picture_is_the_one_that_make_figures_draws(run, tmp_path):
    assert f'QUESTION := "{MIA}"\n' in (ROOT / "Makefile").read_text("utf-8")
    run("ask", MIA, "--picture", str(tmp_path / "reply.svg"))
    committed = (ROOT / "docs/figures/reply.svg").read_text("utf-8")
    assert (tmp_path / "reply.svg").read_text("utf-8") == committed


def test_a_picture_asks_no_host_and_runs_nothing():
    svg = drawn((Author.SMALL, "<script>alert(1)</script> <image href='http://a/b.png'/>"))
    tags = {one.tag.removeprefix(SVG) for one in ET.fromstring(svg).iter()}
    assert tags == {"svg", "title", "rect", "text", "line"}
    assert "href" not in {name for one in ET.fromstring(svg).iter() for name in one.attrib}


def test_every_author_looks_different_without_colour():
    pieces = [(author, f"by {author} ") for author in Author]
    looks = {
        tuple(one.get(name) for name in ("font-weight", "font-style"))
        for one in ET.fromstring(drawn(*pieces)).iter(f"{SVG}text")
        if (one.text or "").startswith("by ")
    }
    assert len(looks) == len(Author)


def test_the_answer_is_a_paragraph_of_its_own():
    picture = ReplyPicture("What?")
    picture.add(Delta("so 3.", (), Author.SMALL, Channel.REASONING))
    picture.add(Delta("", (1,), Author.LARGE, Channel.ANSWER))
    picture.add(Delta("Three.", (), Author.SMALL, Channel.ANSWER))
    rows = {
        one.text: float(one.get("y")) for one in ET.fromstring(picture.svg("")).iter(f"{SVG}text")
    }
    assert rows["Three."] - rows["so 3."] == pytest.approx(48.0)


def test_lines_break_at_spaces_and_long_words_are_cut():
    lines = [
        "".join(glyph.text for glyph in line)
        for line in wrapped(glyphs([("one two three abcdefghijk", Author.SMALL)]), 7)
    ]
    assert lines == ["one two", "three", "abcdefg", "hijk"]


def test_wide_characters_take_two_cells():
    lines = wrapped(glyphs([("箱が47個あります", Author.SMALL)]), 8)
    assert ["".join(glyph.text for glyph in line) for line in lines] == ["箱が47個", "あります"]


def test_punctuation_begins_no_line_of_japanese():
    lines = wrapped(glyphs([("箱が47個。あります", Author.SMALL)]), 8)
    assert ["".join(glyph.text for glyph in line) for line in lines] == [
        "箱が47",
        "個。あり",
        "ます",
    ]


def test_what_combines_is_not_cut():
    lines = wrapped(glyphs([("e\u0301" * 4, Author.SMALL)]), 2)
    assert ["".join(glyph.text for glyph in line) for line in lines] == ["e\u0301" * 2] * 2


@given(st.lists(st.tuples(st.sampled_from(Author), st.text(max_size=80)), max_size=6))
@example([(Author.SMALL, "\x00\x1b[31m\ud800\ufffe\u202e]]>&<\r\n\t")])
def test_any_text_is_a_valid_picture_within_its_width(pieces):
    svg = drawn(*pieces, question="".join(text for _, text in pieces))
    ET.fromstring(svg.encode("utf-8"))
    for line in wrapped(glyphs([(text, author) for author, text in pieces])):
        assert sum(glyph.cells for glyph in line) <= COLUMNS


@pytest.mark.parametrize(
    ("name", "says"), [("reply.png", "ends in .svg"), ("no/where.svg", "there is no folder")]
)
def test_a_path_that_cannot_be_used_is_refused_before_anything_is_asked(run, tmp_path, name, says):
    done = run("ask", "Hello", "--picture", str(tmp_path / name), status=2)
    assert done.out == ""
    assert says in done.err

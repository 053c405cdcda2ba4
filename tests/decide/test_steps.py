"""Where steps end, in whole texts and in texts that grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations.decide.steps import begins_step, last_step, step_ends

MARKED = [
    "It is so.| Then it is not!| Is it?| Well…| Yes.|",
    "a = 3\n|b = 4\r\n|c = 5\n|\n|d",
    "He said “yes.”| (So it is.)| *Done.*| Next",
    "pi is 3.14 and e is 2.718, so pi/e is 1.156 or so.|",
    "It costs 3.| Then it rose.|",
    "See e.g. Fig. 3, i.e. the one by Dr. Smith vs. the one by J. K. Rowling et al. in it.|",
    "Um 9 Uhr, d.h. bzw. ca. 9 Uhr, z.B. heute, kam Prof. Müller.| Gut.|",
    "The U.S. team met at 9 a.m. and 5! = 120 was said.|",
    "1. First do it.| Then that.|\n|2. Second\n|  a. Third.|\n|",
    "彼は来た。|私は「はい！」|と言った。|行こう？|はい",
    "Really?!| Yes...| No",
    "",
    "no end",
]


@pytest.mark.parametrize("marked", MARKED)
def test_steps_of_a_whole_text(marked):
    pieces = marked.split("|")
    ends = [sum(map(len, pieces[:count])) for count in range(1, len(pieces))]
    assert list(step_ends("".join(pieces))) == ends


@pytest.mark.parametrize("marked", MARKED)
def test_a_text_that_grows_by_characters_has_the_same_ends(marked):
    text = marked.replace("|", "")
    seen = [end for at in range(1, len(text) + 1) for end in step_ends(text[:at], since=at - 1)]
    whole = set(step_ends(text))
    late = {end for end in whole if text[end - 2].isdigit() and text[end : end + 1] == " "}
    assert whole - set(seen) == late
    assert all(text[end] in "”)*」!.…\n" for end in set(seen) - whole), (text, seen)


def test_a_mark_within_a_word_ends_nothing_once_the_next_character_is_known():
    assert list(step_ends("See example.com, a != b")) == []


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("It is 3.", False),
        ("It is 3. ", True),
        ("It is three.", True),
        ("e.", False),
        ("see e.g.", False),
        ("by J.", False),
        ("\n12.", False),
        ("\n12. ", False),
        ("It is so .", False),
        ("It is so !", True),
        ("So:\n", True),
    ],
)
def test_a_text_that_may_grow(text, ends):
    stripped = len(text.rstrip(" "))
    assert (stripped in step_ends(text)) is ends


@given(st.text("ab.!?。 \n1e)”", max_size=40), st.integers(0, 40))
def test_ends_behind_a_place_are_those_of_the_whole_text(text, since):
    assert list(step_ends(text, since=since)) == [end for end in step_ends(text) if end > since]


@given(st.text("aB.!?。 \n1", max_size=30), st.text("aB.。 \n1", max_size=4))
def test_a_step_begins_behind_an_end_or_at_the_start(before, chosen):
    body = chosen.lstrip()
    space = before + chosen[: len(chosen) - len(body)]
    end = len(space.rstrip())
    ends = set(step_ends(before + chosen))
    expected = bool(body) and (end == 0 or bool(ends & set(range(end, len(space) + 1))))
    assert begins_step(before, chosen) is expected


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("One two. Three four. ", "Three four."),
        ("One two.\nThree", "Three"),
        ("One", "One"),
        ("", ""),
        ("x" * 700, ""),
        ("Yes. " + "x" * 500 + ".\n", "x" * 500 + "."),
    ],
)
def test_the_last_step(text, step):
    assert last_step(text) == step

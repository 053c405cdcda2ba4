"""Thoughts within a text: every family's marks, wherever the text is cut."""

import random

import pytest

from splitreason_integrations.text.inline_thoughts import MARKS, Habit, InlineThoughts
from splitreason_integrations.text.reply_formats import FORMATS

HARMONY = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>7."


def cuts(text):
    rng = random.Random(text)
    yield [text]
    yield list(text)
    for _ in range(5):
        ends = sorted(rng.sample(range(len(text)), min(3, len(text))))
        yield [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


def heard(pieces, habit=None, *, whole=True):
    """Return the thought and what was said, with how much was known before the end."""
    inline = InlineThoughts(Habit() if habit is None else habit)
    parts = [inline.feed(piece) for piece in pieces]
    early = "".join(part.said for part in parts)
    parts.append(inline.finish(whole=whole))
    return "".join(p.thought for p in parts), "".join(p.said for p in parts), early


@pytest.mark.parametrize("opening", MARKS)
def test_a_thought_of_any_family(opening):
    text = f"{opening}\nhm <b> 1\n{MARKS[opening]}\n\nThe sum is 7."
    for pieces in cuts(text):
        thought, said, early = heard(pieces)
        assert (thought.strip(), said) == ("hm <b> 1", "The sum is 7.")
        assert len(early) >= len(said) - 1, "what follows a thought does not wait for the end"


@pytest.mark.parametrize("end", dict.fromkeys(MARKS.values()))
def test_an_end_alone(end):
    for pieces in cuts(f"hm\n{end}\n\nThe sum is 7."):
        habit = Habit()
        assert heard(pieces, habit)[:2] == ("hm\n", "The sum is 7.")
        assert habit.sends_ends_alone is True


def test_every_family_of_ours_is_among_them():
    for form in FORMATS.values():
        assert MARKS[form.begin_of_reasoning] == form.end_of_reasoning


def test_what_a_family_writes_around_its_answer_is_no_part_of_it():
    for pieces in cuts(HARMONY):
        assert heard(pieces)[:2] == ("hm", "7.")


def test_a_text_without_thoughts_waits_once():
    habit = Habit()
    thought, said, early = heard(["The sum ", "is 7 < 8."], habit)
    assert (thought, said, early) == ("", "The sum is 7 < 8.", "")
    assert habit.sends_ends_alone is False
    assert heard(["The sum ", "is 7."], habit) == ("", "The sum is 7.", "The sum is 7.")


def test_a_text_that_was_cut_off_says_nothing_of_the_next():
    habit = Habit()
    assert heard(["The sum"], habit, whole=False)[:2] == ("", "The sum")
    assert habit.sends_ends_alone is None


def test_an_end_that_comes_late_after_all_has_the_next_text_wait():
    habit = Habit(sends_ends_alone=False)
    assert heard(["hm</think>7."], habit)[:2] == ("", "hm7.")
    assert heard(["hm</think>", "7."], habit)[:2] == ("hm", "7.")


def test_a_server_that_separates_thoughts_has_nothing_wait():
    inline = InlineThoughts(Habit())
    inline.separated()
    assert inline.feed("The sum").said == "The sum"


def test_several_thoughts_and_one_that_never_ends():
    text = "One.<think>a</think> Two.<think>b"
    for pieces in cuts(text):
        thought, said, _ = heard(pieces)
        assert (thought, said) == ("ab", "One.Two.")


def test_the_text_that_waits_is_bounded():
    inline, size = InlineThoughts(Habit()), 0
    for _ in range(600):
        size += len(inline.feed("x" * 1024).said)
    assert size > 0

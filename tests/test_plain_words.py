"""The list of words finds them in names, comments, texts and pages, and only there."""

import pytest

from tests import plain_words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("max_seats = 1", ["max_seats"]),
        ("class DeskState: pass", ["DeskState"]),
        ("self._told = told_upto", ["_told", "told_upto"]),
        ("def test_authors_are_told_apart(): pass", []),
        ("seated = 'a seat'", ["seated", "seat"]),
        ("# Let every id\n# stand.", ["let every id stand"]),
        ('"""What is no finite\nnumber."""', ["what is no", "no finite number"]),
        ("bookkeeping = notebook = stretcher = deskew = 1", []),
        ("carry_out(notes)  # carried on by the other", []),
    ],
)
def test_names_and_prose_are_searched(text, found):
    hits = plain_words.hits_of("loop/x.py", text)
    assert sorted(hit.found for hit in hits) == sorted(found)


def test_stories_may_have_desks_and_books():
    story = 'TEXT = "Mia has a desk with books."'
    assert list(plain_words.hits_of("splitreason_integrations/problems/x.py", story)) == []
    assert [hit.found for hit in plain_words.hits_of("splitreason_integrations/x.py", story)] == [
        "desk"
    ]


def test_pages_are_searched_across_lines_and_a_hit_has_its_line():
    page = "# Pages\n\nIn the end nothing is foretold; keep\nthe book of spans.\n"
    hits = list(plain_words.hits_of("README.md", page))
    assert [(hit.line, hit.found) for hit in hits] == [(3, "foretold"), (4, "the book of")]


def test_file_names_are_searched():
    assert [hit.found for hit in plain_words.hits_of("loop/seating.py", "")] == ["seating"]


def test_code_and_pages_have_none_of_them():
    assert plain_words.hits() == []

"""Help pages fit a terminal, use readers' words and do not contradict themselves."""

import re

import pytest

from build_tools.command import commands, help_text

PAGES = dict(commands())


@pytest.mark.parametrize("name", [name for name in PAGES if " " in name])
def test_a_commands_line_in_a_list_fits(name):
    assert 0 < len(PAGES[name].get_short_help_str(200)) < 60


@pytest.mark.parametrize("name", PAGES)
def test_a_help_page_has_no_programmers_words_and_no_contradiction(name):
    page = help_text(name, PAGES[name])
    assert not re.search(r"<(int|float|str|list|Path)\b[^>]*>\s", page.partition("Options:")[2])
    assert "embedded pair" not in page
    for option in re.split(r"\n  (?=-)", page):
        assert not re.search(r"\bunset\b.*\[default: (?!\()", option, re.DOTALL), option


def test_the_first_page_cuts_no_line():
    assert "..." not in help_text("splitreason", PAGES["splitreason"]).partition("Commands:")[2]

"""Text that arrives in pieces is wrapped between words, at any width, and loses nothing."""

import io
import random
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from splitreason_integrations.cli.display import ReplyPrinter
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import WordWrap
from splitreason_integrations.records import Author, Channel, Delta

ENGLISH = (
    "Mia has 47 boxes with 23 cards in each box.\n\nThen Mia sells 12 cards: 47*23 = 940+141 "
    "= 1081 and 1081-12 = 1069, so Mia has 1069 cards now."
)
JAPANESE = "「小さなモデル」は、難しい箇所だけを大きなモデルに渡します。費用は約30%です。"
LONG = "a " + "x" * 50 + " b"


def shown(text, width, cut=lambda text: [text]):
    """What a terminal of a width shows of a text that arrives in pieces."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=width)
    out = WordWrap(console)
    for piece in cut(text):
        out.write(piece)
    out.flush()
    return file.getvalue()


def at_random(text):
    chance = random.Random(text)
    while text:
        size = chance.randint(1, 9)
        yield text[:size]
        text = text[size:]


@pytest.mark.parametrize("width", [12, 20, 33, 80, 200])
@pytest.mark.parametrize("cut", [lambda text: [text], list, at_random], ids=["whole", "one", "cut"])
def test_no_word_is_broken_and_none_is_lost(width, cut):
    text = shown(ENGLISH, width, cut)
    assert text.split() == ENGLISH.split()
    assert text == shown(ENGLISH, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count("\n\n") == 1


@pytest.mark.parametrize("width", [4, 10, 21, 40])
@pytest.mark.parametrize("cut", [lambda text: [text], list], ids=["whole", "one"])
def test_wide_characters_wrap_by_their_width(width, cut):
    text = shown(JAPANESE, width, cut)
    lines = text.splitlines()
    assert text.replace("\n", "") == JAPANESE
    assert all(cell_len(line) <= width for line in lines)
    assert not any(line[0] in "、。」" for line in lines)
    assert not any(line[-1] == "「" for line in lines)
    assert any("30%" in line for line in lines)


@pytest.mark.parametrize("width", [7, 20])
def test_only_a_word_wider_than_the_terminal_is_broken(width):
    text = shown(LONG, width, list)
    assert all(len(line) <= width for line in text.splitlines())
    assert "".join(text.split()) == "".join(LONG.split())
    assert text.endswith((" b", "\nb"))


def test_a_line_that_fits_exactly_is_not_wrapped():
    assert shown("abc def", 7) == "abc def"
    assert shown("abc defg", 7) == "abc\ndefg"


def test_indentation_and_tabs_stay():
    assert shown("if x:\n    y = 1\n\tz", 40) == "if x:\n    y = 1\n        z"


def test_a_word_appears_once_it_is_complete():
    file = io.StringIO()
    out = WordWrap(Console(file=file, force_terminal=True, color_system=None, width=40))
    out.write("one tw")
    assert file.getvalue() == "one"
    out.write("o ")
    assert file.getvalue() == "one two"
    out.restart()
    out.write("three\n")
    assert file.getvalue() == "one two three\n"


def test_without_a_terminal_nothing_is_wrapped_or_held_back():
    file = io.StringIO()
    out = WordWrap(Console(file=file, width=10))
    out.write("one two three fo")
    assert file.getvalue() == "one two three fo"


def test_a_word_by_two_authors_stays_whole():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=10)
    printer = ReplyPrinter(console)
    for text, author in (("that is 10", Author.SMALL), ("81", Author.LARGE), (".", Author.SMALL)):
        printer.show(Delta(text, (), author, Channel.REASONING))
    printer.show(Delta("1081 now", (), Author.SMALL, Channel.ANSWER))
    printer.finish()
    assert file.getvalue() == "that is\n1081.\n\n1081 now\n"


def test_another_writer_finds_the_whole_text_shown():
    file = io.StringIO()
    printer = ReplyPrinter(Console(file=file, force_terminal=True, color_system=None, width=10))
    printer.show(Delta("47*23 =", (), Author.SMALL, Channel.REASONING))
    assert file.getvalue() == "47*23"
    printer.pause()
    assert file.getvalue() == "47*23 ="


def wide_table():
    table = Table(box=None)
    for heading in ("request", "share", "said"):
        table.add_column(heading, no_wrap=heading != "said")
    table.add_row("request-1234567890", "28.6%", "pip install 'splitreason-integrations[vllm]'")
    table.add_row("[red]x", "", "")
    return table


def table_at(width, *, terminal):
    output = io.StringIO()
    print_table(Console(file=output, width=width, force_terminal=terminal), wide_table())
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("width", [20, 34, 40, 80, 200])
def test_no_table_is_cut_off(width, terminal):
    shown = table_at(width, terminal=terminal)
    assert "…" not in shown
    whole = re.sub(r"\s", "", shown)
    for text in ("request-1234567890", "28.6%", "[red]x"):
        assert text in whole
    if width >= 80:
        assert "[vllm]'" in shown


def test_a_row_that_does_not_fit_a_terminal_is_lines():
    first, second = table_at(20, terminal=True).split("\n\n")
    assert first.splitlines()[:2] == ["request  request-1234567890", "share    28.6%"]
    assert second == "request  [red]x\n"
    assert "request-1234567890" in table_at(20, terminal=False).splitlines()[1]


def test_a_word_is_styled_once():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    wrap = WordWrap(console)
    for piece in ("Mia has ", "47 bo", "xes."):
        wrap.write(piece, "bold")
    wrap.flush()
    assert console.file.getvalue().count("\x1b[1m") < len("Mia has 47 boxes.")

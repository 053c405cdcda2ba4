"""What is printed shows what a text holds, and no character of it acts on the terminal."""

import ast
import io
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import splitreason_integrations
from splitreason_integrations import (
    Answer,
    AuditLog,
    HumanCheck,
    ReviewQueue,
    SplitEngine,
)
from splitreason_integrations.cli.printed_tables import print_markdown, print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.errors import ReviewPendingError
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import complete, request

CONTROL = [chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))]
TURNING = [
    chr(code) for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
]
HIDDEN = ["\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\U000e0041"]
ACTING = [*CONTROL, *TURNING, *HIDDEN, "\u2028", "\u2029"]
MARKUP = "[red]r[/red] [link=http://evil]l[/link] :smile:"
TEXT = "".join(f"<{one}>" for one in ACTING) + MARKUP


def acts(text):
    """Return what acts in a text, but for line breaks and rich's own colours."""
    kept = text.replace("\n", "").replace("\t", "")
    return [one for one in kept if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp")]


def shown(say, **settings):
    file = io.StringIO()
    say(Screen(file=file, width=4000, color_system=None, highlight=False, **settings))
    return file.getvalue()


def table_of(cell):
    table = Table(title="t", box=None)
    table.add_column("one")
    table.add_row(cell)
    return table


WAYS = {
    "text": lambda screen: screen.print(TEXT),
    "rich text": lambda screen: screen.print(Text(TEXT)),
    "rule": lambda screen: screen.rule(Text(TEXT)),
    "log": lambda screen: screen.log(TEXT),
    "table": lambda screen: screen.print(table_of(TEXT)),
    "printed table": lambda screen: print_table(screen, table_of(TEXT)),
    "table of rich text": lambda screen: print_table(screen, table_of(Text(TEXT))),
    "lines": lambda screen: print_lines(screen, TEXT),
    "Markdown": lambda screen: print_markdown(screen, f"| a | b |\n|---|---|\n| {TEXT} | c |\n"),
}


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_text_acts(way, is_terminal):
    printed = shown(way, force_terminal=is_terminal)
    assert acts(printed) == []
    assert "[red]r[/red]" in printed
    assert way is WAYS["table"] or r"<\u202e>" in printed


def test_a_line_of_the_command_does_not_act(capsys):
    echo(TEXT)
    echo(TEXT, err=True)
    printed = capsys.readouterr()
    assert acts(printed.out) == acts(printed.err) == []
    assert printed.out == printed.err == harmless(TEXT) + "\n"


@pytest.mark.parametrize(
    "text", ["a\tb\nc", "naïve – 東京 👍🏽 👩\u200d👧", "می\u200cخواهم", "\u0601\u0661"]
)
def test_other_text_is_left_as_it_is(text):
    assert harmless(text) == text


def test_every_character_that_acts_is_written_out():
    for code in range(sys.maxunicode + 1):
        one = chr(code)
        if unicodedata.category(one) in ("Cc", "Zl", "Zp", "Cs") and one not in "\n\t":
            assert harmless(one) == one.encode("unicode_escape").decode()


def test_what_people_and_models_are_called_does_not_act(run, tmp_path):
    log, queue = tmp_path / "audit.jsonl", ReviewQueue(tmp_path / "reviews")
    name = f"m{TEXT}"
    small = ScriptedModel(f"One {TEXT}.<bigmodel> Two.</think>\n\nFive", name=f"s{TEXT}")
    pair = {"small": small, "large": ScriptedModel(" a b c.</bigmodel>", name=name)}
    audit = AuditLog(log, content=True)

    def engine(reviewer):
        return SplitEngine(**pair, human_check=HumanCheck(reviewer=reviewer), audit=audit)

    given = Answer(decision="edit", text=TEXT, by=f"ann{TEXT}")
    reply = complete(
        engine(lambda question: given),
        request(request_id="r", max_tokens=4000, metadata={"a": TEXT}),
    )
    assert reply.spans
    with pytest.raises(ReviewPendingError):
        complete(engine(queue), request(request_id="q", max_tokens=4000, metadata={"a": TEXT}))
    commands = [
        ("audit", "list", "--log", str(log)),
        ("audit", "show", "r", "--log", str(log)),
        ("review", "list", "--all", "--db", str(queue.path)),
        ("review", "show", "q", "--db", str(queue.path)),
        (
            "review",
            "approve",
            "q",
            "--by",
            f"bob{TEXT[3:]}".replace("\0", ""),
            "--db",
            str(queue.path),
        ),
        ("review", "list", "--all", "--db", str(queue.path)),
    ]
    unknown = ("review", "show", f"x{TEXT}".replace("\0", ""), "--db", str(queue.path))
    for status, command in [*((0, one) for one in commands), (2, unknown)]:
        printed = run(*command, status=status)
        assert acts(printed.out + printed.err) == [], command
        assert printed.out or printed.err


DOOR = "humans/screen.py"


def test_nothing_prints_but_the_screen():
    package = Path(splitreason_integrations.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("Console", "rich.print", "typer.echo", "typer.secho", "click.echo"):
                    found.append(f"{path.relative_to(package)}: {called}")
    assert [one for one in found if not one.startswith(DOOR)] == []

"""Each table of the reference covers all that it is about, and refuses what has no text."""

import dataclasses
import re
import typing
from pathlib import Path

import griffe
import pytest

from build_tools import command, errors, events, pages, policies, replies, rules, signatures
from build_tools.markdown import (
    MissingTextError,
    attribute_text,
    attribute_texts,
    fields_table,
    sentence,
    summary,
    table,
)
from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.events import Event
from splitreason_integrations.options import TABLE as OPTIONS
from splitreason_integrations.processes.environment import TABLE as VARIABLES
from splitreason_integrations.settings import policy_files

FOLDER = Path(__file__).parents[2] / "docs"


def cells(markdown):
    """The cells of each row; a `|` in code splits none."""
    rows = [line[2:-2] for line in markdown.splitlines() if line[:1] == "|"]
    return [re.split(r" \| (?=(?:[^`]*`[^`]*`)*[^`]*$)", row) for row in rows]


def names(markdown):
    """The names that a table has anchors for."""
    return re.findall(r'<span id="[^"]*"></span>`([^`]+)`', markdown)


@pytest.mark.parametrize("name", pages.PARTS)
def test_a_part_is_in_one_page_and_has_no_empty_meaning(name):
    found = [path for path in FOLDER.rglob("*.md") if name in pages.places(path.read_text("utf-8"))]
    assert len(found) == 1
    text = pages.PARTS[name]()
    assert text.strip()
    for row in cells(text)[1:]:
        assert row[0]
        assert '<span class="meaning"></span>' not in row
        assert len(row) < 2 or any(row[1:]), row


def test_pages_have_no_other_places():
    text = "".join(path.read_text("utf-8") for path in FOLDER.rglob("*.md"))
    assert sorted(pages.places(text)) == sorted(pages.PARTS)


def test_options_are_all_there():
    assert names(pages.PARTS["options"]()) == [option.name for option in OPTIONS]


def test_an_option_says_what_can_be_set():
    rows = {row[0].rpartition("</span>")[2]: row for row in cells(pages.PARTS["options"]())}
    assert rows["`top_p`"][2:] == [
        "`float | None`",
        "above 0 to 1",
        "unset",
        "`Sampling`",
        "`--top-p`",
    ]
    assert rows["`on_large_failure`"][3] == "`small` or `raise`"


@pytest.mark.parametrize(("part", "base"), [("triggers", Trigger), ("close-rules", CloseRule)])
def test_rules_are_all_there(part, base):
    assert names(pages.PARTS[part]()) == [kind.__name__ for kind in rules.exported(base)]
    assert len(rules.exported(base)) >= 4


def test_each_form_of_a_rule_is_shown():
    shown = pages.PARTS["triggers"]() + pages.PARTS["close-rules"]()
    for form in ("tag>THRESHOLD", "loop:WORDSxTIMES", "keyword:PATTERN", "agrees:TOKENS>LEAST"):
        assert f"`{form}`" in shown
    needs = {row[0].rpartition("</span>")[2]: row[-1] for row in cells(shown)}
    assert needs["`Disagreement`"] == "large: reads along"
    assert needs["`Always`"] == "nothing"


@pytest.mark.parametrize("name", policies.TABLES)
def test_policy_keys_are_all_there(name):
    fields = [one.name for one in dataclasses.fields(policies.TABLES[name])]
    assert names(pages.PARTS[name]()) == fields


def test_ready_made_policies_are_all_there():
    rows = cells(pages.PARTS["ready-made-policies"]())[2:]
    assert [row[0].strip("`") for row in rows] == policy_files.template_names()


@pytest.mark.parametrize("name", replies.TABLES)
def test_metadata_keys_are_all_there(name):
    assert names(pages.PARTS[name]()) == list(typing.get_type_hints(replies.TABLES[name]))


def test_events_are_all_there():
    everything = {kind.name for kind in Event.__subclasses__()}
    assert set(names(pages.PARTS["events-shown"]())) == everything
    assert set(re.findall(r"^### `(.+?)`", pages.PARTS["events"](), re.M)) == everything


def test_errors_are_all_there():
    assert set(names(pages.PARTS["errors"]())) == {kind.__name__ for kind in errors.family()}
    tree = pages.PARTS["error-tree"]()
    assert all(kind.__name__ in tree for kind in errors.family())
    assert all(row[3] for row in cells(pages.PARTS["errors"]())[3:])


def test_variables_are_all_there():
    parts = (pages.PARTS[f"variables-{use}"]() for use in ("read", "default", "child"))
    assert sorted(name for part in parts for name in names(part)) == sorted(
        one.name for one in VARIABLES
    )


def test_commands_are_all_there():
    found = dict(command.commands())
    assert {"splitreason ask", "splitreason policy show", "splitreason train grpo"} <= set(found)
    text = pages.PARTS["command"]()
    assert all(f"## `{name}`\n" in text for name in found)
    assert max(map(len, text.splitlines())) <= command.COLUMNS


@dataclasses.dataclass
class Described:
    """A thing.

    Attributes:
        one: what it is,
            on two lines.

    """

    one: int
    two: int = 2


class Bare:
    one: int


def test_an_attribute_without_text_is_refused():
    assert attribute_texts(Described) == {"one": "What it is, on two lines."}
    with pytest.raises(MissingTextError, match=r"Described\.two"):
        fields_table(Described, prefix="a")
    with pytest.raises(MissingTextError):
        attribute_text(Bare, "one")


def test_a_class_without_docstring_is_refused():
    with pytest.raises(MissingTextError):
        summary(Bare)
    with pytest.raises(MissingTextError):
        summary(dataclasses.make_dataclass("Made", ["one"]))


def test_a_place_with_an_unknown_name_is_refused():
    with pytest.raises(KeyError):
        pages.filled("<!-- reference: nothing -->")


def test_cells_are_escaped_except_for_code():
    assert table(["a"], [["x | y `p | q`"]]).endswith("| x \\| y `p | q` |\n")
    assert sentence("a <b> `<c>`") == "A &lt;b> `<c>`."
    assert events.family()[0].name in pages.PARTS["events"]()


def test_signatures_show_values_that_a_reader_can_pass():
    extensions = griffe.load_extensions(signatures.Signatures())
    package = griffe.load(
        "splitreason_integrations", search_paths=[FOLDER.parent], extensions=extensions
    )
    engine = {one.name: str(one.default) for one in package["engine.SplitEngine"].parameters}
    assert engine["small"] == engine["large"] == "'embedded'"
    assert engine["handback_tokens"] == "8"
    assert engine["on_large_failure"] == "'small'"
    assert "close_threshold" not in engine
    request = {one.name: str(one.default) for one in package["request.Request"].parameters}
    assert request["request_id"] == "'<a new id>'"
    decision = {one.name: str(one.default) for one in package["humans.human.Answer"].parameters}
    assert decision["at"] == "'<now>'"


def test_the_command_reference_names_arguments_by_one_word():
    text = command.all_help()
    assert "Usage: splitreason ask [OPTIONS] QUESTION\n" in text
    assert re.search(r"^  QUESTION  What to ask", text, re.MULTILINE)
    assert not re.search(r"\{[A-Z_]+\}|^  [A-Z_.]+ <\w+>", text, re.MULTILINE)


def test_events_are_shown_in_readers_words():
    rows = cells(events.where_shown())[1:]
    for *_, traced, metered in rows[1:]:
        assert not re.match(r"(Begin|End|Keep|Count|Name|Record) ", f"{traced} {metered}")
        assert traced
        assert metered

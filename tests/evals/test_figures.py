"""Published tables are made from measured JSON alone, and say how they were measured."""

import json
from pathlib import Path

import pytest

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.figures import FIGURES, update_pages
from splitreason_integrations.evals.figures.cells import rule
from splitreason_integrations.evals.tables import markdown_table

ROOT = Path(__file__).parent.parent.parent
HOW = {"command": "splitreason bench one", "hardware": "a machine", "date": "2026-11-30"}
OVERHEAD = {"ratio": 1.1, "interval": [1.0, 1.2], "n": 60, **HOW}


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "before\n<!-- figures: overhead -->\nold\n<!-- end of figures: overhead -->\nafter\n"
    )
    return path


def kept(folder, **change):
    (folder / "overhead.json").write_text(json.dumps({**OVERHEAD, **change}), "utf-8")


def test_a_marked_place_is_filled_once(page, tmp_path):
    kept(tmp_path)
    assert update_pages([page], tmp_path, write=False) == [page]
    assert "old" in page.read_text()
    assert update_pages([page], tmp_path) == [page]
    text = page.read_text()
    assert "1.10 (1.00 to 1.20)" in text
    assert "`splitreason bench one`: a machine; 2026-11-30." in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert update_pages([page], tmp_path) == []


@pytest.mark.parametrize("key", HOW)
def test_figures_that_do_not_say_how_they_were_measured_are_refused(page, tmp_path, key):
    kept(tmp_path, **{key: ""})
    with pytest.raises(RequestError, match=f"{key} is missing"):
        update_pages([page], tmp_path)
    assert "old" in page.read_text()


def test_an_unknown_name_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- figures: no -->\n<!-- end of figures: no -->\n")
    with pytest.raises(RequestError, match="no figure is named 'no'; there are pair, "):
        update_pages([page], tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- figures: overhead -->",
        "<!-- figures: overhead -->\n<!-- end of figures: pair -->",
        "<!-- end of figures: overhead -->",
    ],
)
def test_a_place_without_both_of_its_lines_is_refused(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(f"{text}\n")
    with pytest.raises(RequestError, match="needs both lines"):
        update_pages([page], tmp_path)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_file_that_is_missing_or_broken_is_named(page, tmp_path, content):
    if content is not None:
        (tmp_path / "overhead.json").write_text(content)
    with pytest.raises(RequestError, match=r"overhead\.json: cannot be read"):
        update_pages([page], tmp_path)


def test_markers_within_a_line_are_text(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("The line `<!-- figures: NAME -->` begins a marked place.\n")
    assert update_pages([page], tmp_path) == []


def test_bars_and_line_breaks_stay_within_their_cell():
    lines = markdown_table(("a", "b"), [("x | y", "one\ntwo")]).splitlines()
    assert lines[-1] == "| x \\| y | one two |"


def test_every_figure_is_made_of_files():
    assert all(figure.files for figure in FIGURES.values())


def test_committed_pages_are_made_of_the_committed_figures():
    pages = [
        ROOT / "README.md",
        ROOT / "splitreason_integrations/embedded/MODEL_CARD.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
    assert update_pages(pages, ROOT / "docs/figures", write=False) == []


def test_a_joined_rule_is_one_cell_of_code_in_every_dialect_of_markdown():
    assert rule("agrees | step") == "<code>agrees &#124; step</code>"
    assert rule("tag>0.5") == "`tag>0.5`"
    assert rule("") == "–"

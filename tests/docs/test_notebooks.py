"""Notebooks hold what a new run prints, without facts of the machine that ran them."""

import json

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output

from build_tools.notebooks import as_page, notebooks
from build_tools.snippets.notebooks import executed, written

NEW_RUN = [
    pytest.mark.slow,
    # Of jupyter_client: sockets that the kernel's end leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def names(path) -> str:
    return path.stem


def test_the_four_recipes_are_there():
    stems = [path.stem for path in notebooks()]
    assert stems == ["agent-langgraph", "calibration", "first-answer", "rag-langchain"]


@pytest.mark.parametrize("path", notebooks(), ids=names)
def test_a_notebook_holds_outputs_and_no_noise(path):
    text = path.read_text("utf-8")
    assert text == written(nbformat.reads(text, as_version=4))
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)


@pytest.mark.parametrize("path", [pytest.param(p, marks=NEW_RUN, id=p.stem) for p in notebooks()])
def test_a_new_run_prints_the_stored_outputs(path):
    assert executed(path) == path.read_text("utf-8"), "run make docs-figures"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cell_that_raises_fails(tmp_path):
    path = tmp_path / "faulty.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    with pytest.raises(CellExecutionError):
        executed(path)


def test_a_notebook_as_a_page(tmp_path):
    path = tmp_path / "one.ipynb"
    cell = new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")])
    path.write_text(written(new_notebook(cells=[cell])), "utf-8")
    assert as_page(path) == "```python\nprint(1)\n```\n\n```text\n1\n```\n"

"""Pages and docstrings are spelled right, and in British English."""

import subprocess
import sys
import tomllib
from importlib.resources import files

import pytest

from tests.docs.repository_pages import docstrings, prose
from tests.limits import HANGS_S
from tests.plain_words import ROOT, tracked

PAGES = tracked("*.md", ":!tests/formats")
MODULES = tracked("splitreason_integrations/*.py", "adapters/*.py", "docs/*.py")


@pytest.fixture(scope="module")
def british(tmp_path_factory):
    """A dictionary from American to British spellings."""
    known = files("codespell_lib") / "data" / "dictionary_en-GB_to_en-US.txt"
    pairs = (line.split("->") for line in known.read_text("utf-8").splitlines())
    lines = [
        f"{american.strip()}->{ours}\n"
        for ours, theirs in pairs
        for american in theirs.split(",")
        if american.strip()
    ]
    path = tmp_path_factory.mktemp("spelling") / "british.txt"
    path.write_text("".join(lines), "utf-8")
    return path


def misspelt(folder, british):
    """Return what codespell finds in the files of a folder; pyproject.toml has its settings."""
    found = subprocess.run(
        [
            *(sys.executable, "-m", "codespell_lib"),
            *("--toml", str(ROOT / "pyproject.toml")),
            *("--dictionary", str(british), "--dictionary", "-"),
            str(folder),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert not found.stderr, found.stderr
    return found.stdout.splitlines()


def write(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def test_pages_and_docstrings_are_spelled_right(tmp_path, british):
    texts = {path.relative_to(ROOT): prose(path.read_text("utf-8")) for path in PAGES}
    for path in MODULES:
        texts[path.relative_to(ROOT)] = prose(docstrings(path.read_text("utf-8")))
    assert len(texts) > 400
    write(tmp_path, texts)
    assert not misspelt(tmp_path, british)


@pytest.mark.parametrize("word", ["teh", "color", "serialise the licence with an optimizer"])
def test_a_misspelt_word_is_found(word, tmp_path, british):
    write(tmp_path, {"page.md": word})
    assert len(misspelt(tmp_path, british)) == 1


def test_code_is_not_spelled(tmp_path, british):
    page = "A `color`, [a](center.md), HEADER:\n\n```python\ncolor = 1\n```\n"
    code = 'def color():\n    """Return the colour of `color`."""\n'
    write(tmp_path, {"page.md": prose(page), "code.py": prose(docstrings(code))})
    assert not misspelt(tmp_path, british)


def test_few_words_are_excepted():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["codespell"]
    assert len(settings["ignore-words-list"].split(",")) <= 12

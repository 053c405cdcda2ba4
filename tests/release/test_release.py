"""`make release-check` names what a release lacks, and nothing else."""

import json
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta

import pytest

from tests.limits import HANGS_S
from tests.release.__main__ import CHECKS, FILES, PACKAGE, ROOT, main, version_of
from tests.release.locked import locked

TODAY = date.today().isoformat()
NEWEST = re.compile(r"^## .*$", re.MULTILINE)
QUICK = ("version", "changelog", "tree")


def git(root, *arguments):
    settings = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *settings, *arguments], cwd=root, check=True, capture_output=True)


def commit(root):
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "A commit")


def say(root, changelog):
    (root / "CHANGELOG.md").write_text(changelog, "utf-8")
    commit(root)


@pytest.fixture
def tree(tmp_path):
    """A committed tree with the files that the quick checks read, ready for its release."""
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n')
    (tmp_path / PACKAGE / "__init__.py").write_text('__version__ = "0.3.0"\n')
    git(tmp_path, "init", "--quiet")
    say(tmp_path, f"# Changelog\n\n## [0.3.0] - {TODAY}\n\n- New.\n\n## [0.2.0] - 2026-01-02\n")
    return tmp_path


def test_a_ready_tree_is_ready(tree, capsys):
    assert main(QUICK, tree) == 0
    assert capsys.readouterr().out.endswith(
        "0.3.0 is ready, but for files, parts, docs, installs, not checked\n"
    )


@pytest.mark.parametrize(
    ("changelog", "what"),
    [
        ("## 0.3.0 (unreleased)\n\n- New.\n", "has 'unreleased' for 0.3.0"),
        ("## [0.3.0]\n\n- New.\n", "has 'no date' for 0.3.0"),
        ("## [0.3.0] - 2026-02-30\n\n- New.\n", "has '2026-02-30' for 0.3.0"),
        (f"## 0.3.0 ({date.today() + timedelta(2)})\n\n- New.\n", "which is to come"),
        (
            "## [Unreleased]\n\n- New.\n\n## 0.2.0 (2026-01-02)\n\n- Old.\n",
            "the newest is Unreleased",
        ),
        (f"## [Unreleased]\n\n- More.\n\n## [0.3.0] - {TODAY}\n\n- New.\n", "changes above 0.3.0"),
        (f"## [0.3.0] - {TODAY}\n\n## [0.2.0] - 2026-01-02\n\n- Old.\n", "nothing about 0.3.0"),
    ],
)
def test_a_changelog_that_lacks_something_is_named(changelog, what, tree, capsys):
    say(tree, changelog)
    assert main(["changelog"], tree) == 1
    assert what in capsys.readouterr().out


@pytest.mark.parametrize("heading", ["## 0.3.0 ({})", "## [0.3.0] - {}", "## 0.3.0 - {}"])
def test_a_dated_heading_is_taken_also_below_an_empty_one(heading, tree):
    say(tree, f"## [Unreleased]\n\n{heading.format(TODAY)}\n\n### Added\n\n- New.\n")
    assert main(["changelog"], tree) == 0


def test_a_version_that_differs_or_is_tagged_is_named(tree, capsys):
    git(tree, "tag", "v0.3.0")
    assert main(["version"], tree) == 1
    assert "the tag v0.3.0 is there already" in capsys.readouterr().out
    for version, what in (("0.4.0", "the package has 0.3.0"), ("0.3.0rc1", "the package has")):
        (tree / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
        assert main(["version"], tree) == 1
        assert what in capsys.readouterr().out
    (tree / PACKAGE / "__init__.py").write_text('__version__ = "0.3.0rc1"\n')
    assert main(["version"], tree) == 1
    assert "0.3.0rc1 is no final version" in capsys.readouterr().out


def test_what_is_not_committed_is_named(tree, capsys):
    (tree / "notes.txt").write_text("x")
    assert main(QUICK, tree) == 1
    assert capsys.readouterr().out == (
        "version    ok\nchangelog  ok\ntree       missing\n"
        "0.3.0 is not ready:\n- tree: not committed: notes.txt\n"
    )


def test_an_unknown_check_is_refused(tree, capsys):
    assert main(["colour"], tree) == 2
    assert capsys.readouterr().out == f"unknown: colour; known: {', '.join(CHECKS)}\n"


@pytest.fixture
def copy(tmp_path):
    """This tree as it would be committed, in a repository of its own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def checked(copy, *names):
    """Run the checks of a copy as `make release-check` does; return status and output."""
    command = [sys.executable, "-m", "tests.release", *names]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=HANGS_S)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_this_tree_lacks_nothing_but_the_date_of_its_release(copy, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(copy))
    version, names = version_of(copy), (*QUICK, "files", "parts")
    text = (copy / "CHANGELOG.md").read_text("utf-8")
    say(copy, NEWEST.sub("## [Unreleased]", text, count=1) + "\n")
    status, said = checked(copy, *names)
    assert status == 1, said
    assert said.endswith(
        f"{version} is not ready:\n"
        f"- changelog: CHANGELOG.md has no heading for {version}; the newest is Unreleased\n"
    )
    say(copy, NEWEST.sub(f"## [{version}] - {TODAY}", text, count=1))
    status, said = checked(copy, *names)
    assert status == 0, said
    assert {path.suffix for path in (copy / FILES).iterdir()} == {".whl", ".gz", ".json"}
    (listed,) = (copy / FILES).glob("*.cdx.json")
    parts = json.loads(listed.read_text("utf-8"))
    assert parts["metadata"]["component"]["version"] == version
    versions = {part["name"]: part["version"] for part in parts["components"]}
    assert versions["transformers"] == locked()["transformers"]
    assert not versions.keys() & {"pytest", "ruff", "mkdocs"}

"""CONTRIBUTING's tables name what is there, and its examples work as they are printed."""

import os
import re
import shutil
import subprocess
import sys
from types import ModuleType

import pytest

from tests.backends.servers import LARGE, QUESTION, serving
from tests.limits import HANGS_S
from tests.test_house import FLOORS, ON_THE_GROUND, PACKAGE, ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SCRIPT_BACKEND = ROOT / "tests" / "backends" / "script_backend"
WITHOUT_CODE = {"policies"}
"""Rooms that hold files which are not Python, so that they have no floor."""

ASK_RESUME = """
import asyncio, sys
from splitreason_integrations import OpenAIServerModel, SplitEngine
from splitreason_integrations.request import Request

url, tokenizer, question = sys.argv[1:]
request = Request(messages=[{"role": "user", "content": question}], seed=1)
there = OpenAIServerModel(
    url, "resume", dialect="resume", tokenizer=tokenizer, context_tokens=2048
)
mine = asyncio.run(SplitEngine().complete(request))
theirs = asyncio.run(SplitEngine(small="embedded", large=there).complete(request))
assert mine.large_tokens and theirs.pieces == mine.pieces, (mine, theirs)
assert not theirs.degraded
"""

ASK_SCRIPT = """
from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM

pair = {"small": "script:small.txt", "large": "script:large.txt"}
message = SplitReasonLLM(**pair).invoke("How many are 47*23?")
facts = message.response_metadata["splitreason"]
print(message.content, [span["text"] for span in facts["spans"]], facts["degraded"])
print(LlamaIndexLLM(**pair).complete("How many are 47*23?").text)
"""


def section(title):
    """Return the text below a heading, up to the next one."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return found


def blocks(text, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)


def column(title, number):
    """Return the code spans of one column of a section's table, row by row."""
    rows = [row for row in section(title).splitlines() if row.startswith("| ")][1:]
    return [re.findall(r"`([^`]+)`", row.split(" | ")[number]) for row in rows]


def in_environment(*paths):
    path = os.pathsep.join(map(str, paths))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def run(code, *arguments, cwd, env):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_lists_the_rooms_of_the_house():
    listed = [room for row in column("Rooms", 0) for room in row]
    folders = {path.parent.name for path in PACKAGE.glob("*/*") if path.suffix != ".pyc"}
    floors = {room for rooms in FLOORS for room in rooms if "." not in room}
    assert len(listed) == len(set(listed))
    assert set(listed) == folders == (floors - set(ON_THE_GROUND)) | WITHOUT_CODE


@pytest.mark.parametrize(("number", "above"), [(1, [PACKAGE]), (2, [ROOT])])
def test_the_tables_files_are_there(number, above):
    named = [one for row in column("How to add …", number) for one in row]
    paths = [one for one in named if "/" in one]
    assert len(paths) > 5
    for path in paths:
        assert [base for base in above if (base / path).exists()], path


def test_the_tables_commands_name_folders_of_tests():
    for (command,) in column("How to add …", 3):
        name, *paths = command.split()
        assert name == "pytest"
        assert all((ROOT / path).exists() for path in paths), command


def test_the_examples_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = ModuleType("contributing")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    for code in blocks(PAGE, "python"):
        exec(compile(code, "CONTRIBUTING.md", "exec"), vars(page))


def changed(source, diff):
    """Return a file with a diff applied: the lines that it takes out must be there once."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "@@"))]
    old, new = (
        "".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in (" -", " +")
    )
    assert source.count(old) == 1, old
    return source.replace(old, new)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_the_diff_of_a_dialect_teaches_it_to_a_copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, copy_function=os.symlink)
    (diff,) = blocks(section("A server dialect"), "diff")
    for part in re.split(r"^(?=--- )", diff, flags=re.M)[1:]:
        file = tmp_path / re.match(r"--- a/(\S+)", part)[1]
        text = changed(file.read_text("utf-8"), part)
        file.unlink()
        file.write_text(text, "utf-8")
    with serving("dialect_server", "embedded:large", "resume") as (_, url):
        run(ASK_RESUME, url, LARGE, QUESTION, cwd=tmp_path, env=in_environment(tmp_path))


def test_the_backend_is_printed_as_its_package_has_it():
    shown = section("A backend in a package of your own")
    assert (SCRIPT_BACKEND / "pyproject.toml").read_text("utf-8") in blocks(shown, "toml")
    assert (SCRIPT_BACKEND / "splitreason_script.py").read_text("utf-8") in blocks(shown, "python")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package as pip installs it, in a folder of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    package = shutil.copytree(SCRIPT_BACKEND, source / "script_backend")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command = [*pip, "--no-build-isolation", "--target", str(target), str(package)]
    subprocess.run(command, check=True, timeout=HANGS_S)
    (target / "small.txt").write_text("47*23 = <bigmodel>. So 1081.</think>It is 1081.", "utf-8")
    (target / "large.txt").write_text("1081</bigmodel>", "utf-8")
    return target


@pytest.fixture
def beside_the_package(installed):
    return in_environment(installed, ROOT, ROOT / "adapters")


def test_both_chat_models_find_an_installed_backend_by_its_prefix(installed, beside_the_package):
    (facts,) = installed.glob("splitreason_script-*.dist-info")
    assert "script = splitreason_script:parse" in (facts / "entry_points.txt").read_text("utf-8")
    said = run(ASK_SCRIPT, cwd=installed, env=beside_the_package)
    assert said == "It is 1081. ['1081'] False\nIt is 1081.\n"


def test_the_command_finds_an_installed_backend_by_its_prefix(installed, beside_the_package):
    code = "from splitreason_integrations.cli import main; main()"
    pair = ("--small", "script:small.txt", "--large", "script:large.txt")
    said = run(code, "ask", "47*23?", *pair, "--json", cwd=installed, env=beside_the_package)
    assert '"It is 1081."' in said

"""The house keeps its shape: data flows one way, imports stay light, the package is whole."""

import ast
import fnmatch
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import splitreason_integrations
from splitreason_integrations import Policy, Rule, SplitEngine, blocking
from splitreason_integrations.backends.loads import Loads
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.errors import MissingExtraError
from tests.limits import HANGS_S

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "splitreason_integrations"

FLOORS = [
    {"errors", "events", "records", "blocking", "processes", "embedded"},
    {"checks", "options", "patterns", "sampling", "protocols", "problems"},
    {"privacy"},
    {"decide", "text"},
    {"backends", "humans", "request"},
    {"loop", "reviews"},
    {"audit", "telemetry"},
    {"engine"},
    {"settings", "audit.replay", "testing", "console", "doctor", "notebooks"},
    {"evals"},
    {"annotation", "planning", "training"},
    {"cli"},
]
"""The rooms from the ground up. A module imports from rooms on its own floor or below."""

ON_THE_GROUND = {
    "__init__": "the public names",
    "blocking": "opens the async engine to synchronous callers",
    "checks": "checks of settings, used by every room",
    "console": "public import path of the reviewer at a terminal",
    "doctor": "examines models and packages for the command",
    "engine": "one request in, one stream out: the front door",
    "errors": "all errors, public",
    "events": "all events, shared by the engine, both adapters, audit and telemetry",
    "options": "every option of a pair, declared once for engine, chat models and command",
    "protocols": "what text, privacy and models agree on",
    "request": "one request as a value",
    "sampling": "sampling parameters and the draw by position",
}
"""Why each file stands beside the rooms and not in one."""

AT_THE_TOP = {
    ".ci": "what must hold on a fresh machine",
    ".git": "the history; a file in a second checkout",
    ".github": "templates and the workflow, where the repository's host looks for them",
    ".gitignore": "what git leaves out",
    ".pre-commit-config.yaml": "what pre-commit reads",
    "CHANGELOG.md": "what users notice",
    "CONTRIBUTING.md": "how to change the project, where the repository's host looks for it",
    "LICENSE": "what the metadata names",
    "Makefile": "the commands",
    "PKG-INFO": "the metadata, in an unpacked sdist",
    "README.md": "the front page",
    "SECURITY.md": "how to report a weakness, where the repository's host looks for it",
    "adapters": "the packages for LangChain and LlamaIndex",
    "constraints-servers.txt": "tested versions of other projects' servers",
    "constraints-vllm.txt": "tested versions of vLLM's environment",
    "constraints.txt": "tested versions of what the project names",
    "cookbook": "recipes",
    "docs": "the site's pages",
    "mkdocs.yml": "what mkdocs reads",
    "pyproject.toml": "metadata and the settings of tools",
    "requirements.lock": "every version that the tests use",
    "splitreason_integrations": "the package",
    "tests": "tests",
}
"""Why each file and folder lies at the top. Whatever else is built there, git ignores."""


def room_of(module):
    return next(
        (
            room
            for room in (module, module.partition(".")[0])
            if any(room in rooms for rooms in FLOORS)
        ),
        None,
    )


def floor_of(module):
    room = room_of(module)
    assert room, f"{module} is in no room: give it one in FLOORS"
    return next(floor for floor, rooms in enumerate(FLOORS) if room in rooms)


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path):
    """The modules of the package that a file imports, wherever in the file it does."""
    prefix = "splitreason_integrations."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [
                name if name.removeprefix(prefix) in MODULES else node.module for name in whole
            ]
        for name in names:
            assert not name.startswith(("langchain_splitreason", "llama_index.llms.splitreason"))
            if name.startswith(prefix):
                yield name.removeprefix(prefix)


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_data_flows_one_way(name):
    for imported in imports_of(MODULES[name]):
        assert floor_of(imported) <= floor_of(name), f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) != "testing"])
def test_nothing_but_tests_uses_fakes(name):
    fakes = [imported for imported in imports_of(MODULES[name]) if room_of(imported) == "testing"]
    assert not fakes


def test_no_circle_between_files():
    below = {name: set(imports_of(path)) - {name} for name, path in MODULES.items() if name}
    list(TopologicalSorter(below).static_order())


def test_rooms_on_one_floor_make_no_circle():
    below = {}
    for name, path in MODULES.items():
        if name:
            others = {room_of(imported) for imported in imports_of(path)} - {room_of(name)}
            below.setdefault(room_of(name), set()).update(others)
    list(TopologicalSorter(below).static_order())


def test_the_listing_is_the_block_diagram():
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    files = {path.stem for path in entries if path.suffix == ".py"}
    assert files == set(ON_THE_GROUND)
    assert len(files) <= 16
    assert len(entries) <= 36


def test_the_top_level_holds_what_is_listed():
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()]
    entries = {
        path.name
        for path in ROOT.iterdir()
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored)
    }
    assert entries <= set(AT_THE_TOP), f"give a reason: {sorted(entries - set(AT_THE_TOP))}"


def test_no_file_makes_llama_index_a_package():
    for folder in ("adapters", "adapters/llama_index", "adapters/llama_index/llms"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_importing_is_light():
    code = (
        "import sys, splitreason_integrations as s\n"
        "heavy = {'torch', 'transformers', 'aiohttp', 'langchain_core', 'llama_index'}\n"
        "heavy.add('opentelemetry')\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS_S)


def test_all_is_what_is_exported():
    names = splitreason_integrations.__all__
    assert names == sorted(names)
    assert all(hasattr(splitreason_integrations, name) for name in names)


def test_version_is_the_distributions():
    from importlib.metadata import version

    assert version("splitreason-integrations") == splitreason_integrations.__version__


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 360


def test_a_missing_extra_is_named():
    code = (
        "import sys\n"
        "sys.modules['langchain_core'] = None\n"
        "try:\n"
        "    import langchain_splitreason\n"
        "except ImportError as error:\n"
        "    assert 'splitreason-integrations[langchain]' in str(error)\n"
        "else:\n"
        "    raise SystemExit('imported without langchain-core')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS_S)


EXTRA = r"pip install 'splitreason-integrations\[{}\]'"

NEEDS = {
    "embedded model": lambda: blocking.run(lambda: load_model("embedded:base", role="small")),
    "model by transformers": lambda: blocking.run(lambda: load_model("hf:none", role="small")),
    "pair": lambda: blocking.run(SplitEngine().models),
}


@pytest.mark.parametrize("ask", NEEDS.values(), ids=NEEDS)
def test_a_model_in_this_process_without_torch_names_the_extra(ask, monkeypatch):
    monkeypatch.setattr("splitreason_integrations.backends.registry._loads", Loads())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=EXTRA.format("local")):
        ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: SplitEngine(redact="phone"),
        lambda: SplitEngine(policy=Policy(redact=("email", "phone"))),
        lambda: SplitEngine(redact="phone:DE"),
        lambda: SplitEngine(
            policy=Policy(rules=(Rule(when={"tenant": "acme"}, set={"redact": ("phone",)}),))
        ),
    ],
)
def test_redaction_of_phone_numbers_without_its_package_names_the_extra(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(MissingExtraError, match=EXTRA.format("redact")):
        ask()


def test_a_policy_is_read_and_other_rules_redact_without_phonenumbers(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    assert "phone" in Policy.template("regulated").redact
    SplitEngine(redact=["email", "card", "key"])


def test_the_command_prints_the_version(run):
    assert run("--version").out == f"splitreason {splitreason_integrations.__version__}\n"

"""Every name that README, docs and cookbook use can be imported from where they say."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import splitreason_integrations

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "splitreason_integrations"
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "cookbook/**/*.md", "cookbook/**/*.py")
    for path in sorted(ROOT.glob(pattern))
]
FOR_USERS = [
    ROOT / "README.md",
    *(path for path in sorted(ROOT.glob("docs/**/*.md")) if path.name != "migrate.md"),
]
"""Pages that name what users import; the migration page has the old names too."""

OURS = ("splitreason_integrations", "langchain_splitreason", "llama_index.llms.splitreason")
PUBLIC = (
    "splitreason_integrations",
    "splitreason_integrations.errors",
    "splitreason_integrations.testing",
    "splitreason_integrations.console",
    "splitreason_integrations.notebooks",
    "langchain_splitreason",
    "langchain_splitreason.agents",
    "llama_index.llms.splitreason",
)
"""Where users import from."""

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_DOTTED = re.compile(rf"(?:{'|'.join(map(re.escape, OURS))})(?:\.\w+)+")
_CLASS = re.compile(r"(?<![\w.])[A-Z][a-zA-Z]+(?![\w:])")


def code_of(path):
    """Return a page's Python code."""
    text = path.read_text("utf-8")
    return [text] if path.suffix == ".py" else _BLOCK.findall(text)


def imports(path):
    """Yield what a page imports of ours, as module and name."""
    for code in code_of(path):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
                yield from ((node.module, alias.name) for alias in node.names)
            if isinstance(node, ast.Import):
                yield from ((one.name, "") for one in node.names if one.name.startswith(OURS))


def is_there(dotted):
    """Return whether a dotted name can be imported: a module, or a name of one."""
    module, _, name = dotted.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.import_module(dotted)
        )
    except ImportError:
        return False


def own_classes():
    """Return the names of all classes that the package defines for others."""
    trees = (ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py"))
    nodes = (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name for node in nodes if not node.name.startswith("_")}


def public_names():
    return {name for module in PUBLIC for name in dir(importlib.import_module(module))}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_imports_is_there(path):
    for module, name in imports(path):
        assert is_there(f"{module}.{name}" if name else module), f"from {module} import {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dotted_names_of_a_page_are_there(path):
    for dotted in _DOTTED.findall(path.read_text("utf-8")):
        assert is_there(dotted), dotted


def test_pages_name_what_can_be_imported_from_a_public_place():
    pages = "".join(path.read_text("utf-8") for path in FOR_USERS)
    text = re.sub(r"^```.*?^```", "", pages, flags=re.M | re.S)
    named = {name for code in _CODE.findall(text) for name in _CLASS.findall(code)}
    used = named & own_classes()
    missing = used - public_names()
    assert not missing, f"pages name {sorted(missing)}, which no public module exports"


NEEDED = {
    "a trigger": ("Needs", "Position", "Trigger", "parse_trigger"),
    "a close rule": ("CloseNeeds", "CloseRule", "OwnToken", "SpanPlace", "parse_close"),
    "a reviewer": ("Answer", "Decision", "HumanCheck", "Paused", "Question", "Reviewer"),
    "a pause": ("Paused", "ReviewPendingError", "ReviewQueue", "SplitReasonError"),
    "freeing memory": ("ModelInUseError", "release"),
}


@pytest.mark.parametrize("purpose", NEEDED)
def test_the_root_exports_what_users_extend_and_handle(purpose):
    assert set(NEEDED[purpose]) <= set(splitreason_integrations.__all__)

"""The tables of errors: the tree, and what raises each."""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

from build_tools.markdown import anchored, code, summary, table
from splitreason_integrations import errors

_PACKAGE = Path(errors.__file__).parent
_FOLDERS = (_PACKAGE, _PACKAGE.parent / "adapters")
_PARTS = {
    "langchain_splitreason": "the chat model of LangChain",
    "llama_index": "the chat model of LlamaIndex",
    "annotation": "annotation",
    "audit": "the audit log",
    "backends": "loading and calling models",
    "checks": "checks of settings",
    "cli": "the command",
    "decide": "policies, triggers and close rules",
    "doctor": "the command",
    "embedded": "the choice of the pair",
    "evals": "evaluation and calibration",
    "humans": "human checks",
    "options": "checks of settings",
    "planning": "planning",
    "privacy": "redaction",
    "problems": "the bundled pair's problems",
    "processes": "child processes",
    "reviews": "the review queue",
    "sampling": "checks of settings",
    "settings": "policy and option files",
    "telemetry": "telemetry",
    "testing": "scripted models",
    "text": "prompts, tools and answer forms",
    "training": "training",
}
"""What readers call the parts of the project; all others are the engine."""


def family() -> list[type[errors.SplitReasonError]]:
    """Return the classes of all errors."""
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.SplitReasonError)
    ]


def tree() -> str:
    """Return the tree of errors, as their module draws it."""
    drawn = (errors.__doc__ or "").partition("::\n\n")[2]
    lines = (line.removeprefix("    ") for line in drawn.strip("\n").splitlines())
    return "```text\n" + "\n".join(lines) + "\n```\n"


def entries() -> str:
    """Return the place of each error's entry in the Python reference."""
    return "\n".join(f"::: {kind.__module__}.{kind.__name__}\n" for kind in family())


def all_errors() -> str:
    """Return the table of errors: bases, meaning, and what raises each."""
    head = ("Error", "Is also", "Meaning", "Raised by")
    return table(head, map(_row, family()))


def _row(kind: type[errors.SplitReasonError]) -> tuple[str, ...]:
    bases = ", ".join(code(base.__name__) for base in kind.__bases__ if base is not Exception)
    return anchored(kind.__name__, prefix="error"), bases, summary(kind), _raisers(kind.__name__)


def _raisers(name: str) -> str:
    modules = _made().get(name) or _used().get(name) or ()
    return ", ".join(sorted({_PARTS.get(_part(module), "the engine") for module in modules}))


def _part(module: str) -> str:
    """Return the part of the project that a module belongs to."""
    package, _, below = module.partition(".")
    return below.partition(".")[0] if package == _PACKAGE.name else package


@cache
def _made() -> dict[str, set[str]]:
    """Return the modules that make each error, by its name."""
    return _modules(lambda node: node.func if isinstance(node, ast.Call) else None)


@cache
def _used() -> dict[str, set[str]]:
    """Return the modules that use each name."""
    return _modules(lambda node: node)


def _modules(choose: Callable[[ast.AST], ast.AST | None]) -> dict[str, set[str]]:
    """Return the modules in which each name is among the chosen nodes."""
    found: dict[str, set[str]] = {}
    for folder in _FOLDERS:
        for path in folder.rglob("*.py"):
            module = ".".join(path.relative_to(folder).with_suffix("").parts)
            for node in map(choose, ast.walk(ast.parse(path.read_text("utf-8")))):
                if isinstance(node, ast.Name):
                    found.setdefault(node.id, set()).add(module.removesuffix(".__init__"))
    return found

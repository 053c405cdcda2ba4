"""A page or a module's docstrings, block after block: what fails, and what it should show."""

import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from build_tools.snippets.commands import ROOT, check_inline, check_shell
from build_tools.snippets.names import check_names
from build_tools.snippets.outputs import (
    CommandFailedError,
    Shown,
    matches,
    read_console,
    renewed,
    run_command,
    terminal,
    trimmed,
)
from splitreason_integrations.errors import SplitReasonError
from splitreason_integrations.settings.policy_files import from_data
from splitreason_integrations.training.offloading.recipe import load_grpo, load_sft

NAMES_ONLY = "<!-- names only -->"
RECIPE = "<!-- recipe -->"
_OTHER_TABLES = frozenset({"build-system", "project", "tool"})
"""Tables of a pyproject.toml; any other TOML is a policy or marked as a recipe."""

ONLY_SHOWN = frozenset({"mermaid", "text", "yaml", "diff", "html"})
STALE = "the output is out of date: run make docs-figures"

_BLOCK = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[\w-]*)[^\n]*\n"))


def pages() -> list[Path]:
    """Return the pages whose snippets are checked."""
    single = [
        "README.md",
        "CONTRIBUTING.md",
        "cookbook/deploy/README.md",
        "splitreason_integrations/embedded/MODEL_CARD.md",
    ]
    return [*(ROOT / name for name in single), *sorted((ROOT / "docs").rglob("*.md"))]


def modules() -> list[Path]:
    """Return the modules whose docstrings have snippets or name commands."""
    files = [*(ROOT / "splitreason_integrations").rglob("*.py")]
    files += (ROOT / "adapters").rglob("*.py")
    words = ("```", ">>> ", "`splitreason ", "`make ")
    return sorted(file for file in files if any(w in file.read_text("utf-8") for w in words))


@dataclass
class Snippets:
    """The blocks of one document, run in their order in one namespace.

    After `run`, `faults` says what failed and `text` is the document with the printed output.
    """

    path: Path
    faults: list[str] = field(default_factory=list)
    text: str = ""
    _module: ModuleType = field(default_factory=lambda: ModuleType("page"))
    _printed: str | None = None
    _edits: list[tuple[int, int, str]] = field(default_factory=list)

    def run(self) -> None:
        """Run or check every block in an empty temporary folder."""
        document = Sybil(parsers=[self._regions]).parse(self.path)
        before = Path.cwd()
        sys.modules[self._module.__name__] = self._module
        with tempfile.TemporaryDirectory() as folder, terminal():
            os.chdir(folder)
            try:
                for example in document.examples():
                    example.evaluate()
            finally:
                os.chdir(before)
                del sys.modules[self._module.__name__]
        if self.path.suffix == ".md":
            self._inline(document.text)
        self.text = document.text
        for start, end, text in reversed(self._edits):
            self.text = self.text[:start] + text + self.text[end:]

    @classmethod
    def of_docstrings(cls, path: Path) -> list[str]:
        """Return what fails in the docstrings of a module, taken together as one page."""
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
        found = [f"{path}: write >>> as a python block" for one in texts if ">>> " in one]
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / f"{path.stem}.md"
            page.write_text("\n\n".join(texts), "utf-8")
            snippets = cls(page)
            snippets.run()
        return [*found, *(f"{path}: {fault}" for fault in snippets.faults)]

    def _inline(self, text: str) -> None:
        prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
        prose = re.sub(r"<!-- old names -->.*?<!-- end of old names -->", "", prose, flags=re.S)
        self.faults += (f"{self.path.name}: {fault}" for fault in check_inline(prose))

    def _regions(self, document: Document) -> Iterable[Region]:
        for region in _BLOCK(document):
            lexemes = region.lexemes
            yield Region(region.start, region.end, lexemes, self._evaluate)

    def _evaluate(self, example: Example) -> None:
        language, source = example.parsed["language"], example.parsed["source"]
        above = example.document.text[: example.start].rstrip().rpartition("\n")[2].strip()
        printed, self._printed = self._printed, None
        for fault in self._block(example, language, source, above, printed):
            self.faults.append(f"{self.path.name}:{example.line}: {fault}")

    def _block(
        self, example: Example, language: str, source: str, above: str, printed: str | None
    ) -> Iterator[str]:
        if language == "python":
            yield from self._python(example, source, above == NAMES_ONLY)
        elif language == "console":
            yield from self._console(example, source)
        elif language == "text" and printed is not None:
            yield from self._compare(example, source, printed)
        elif language == "sh":
            yield from check_shell(source)
        elif language == "toml":
            yield from check_toml(source, recipe=above == RECIPE)
        elif language == "json":
            try:
                json.loads(source)
            except ValueError as error:
                yield f"not JSON: {error}"
        elif language not in ONLY_SHOWN:
            yield f"a block of {language or 'no language'} is neither run nor checked"

    def _python(self, example: Example, source: str, names_only: bool) -> Iterator[str]:
        try:
            code = ast.parse("\n" * example.line + source)
        except SyntaxError as error:
            yield f"{error}"
            return
        if names_only:
            yield from check_names(code, vars(self._module))
            return
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(code, str(self.path), "exec"), vars(self._module))
        except BaseException as error:  # whatever the snippet raises is its fault
            if isinstance(error, KeyboardInterrupt):
                raise
            yield "".join(traceback.format_exception(error)[-4:])
            return
        self._printed = out.getvalue()

    def _console(self, example: Example, source: str) -> Iterator[str]:
        try:
            blocks = read_console(source)
            new = [Shown(one.command, run_command(one.command)) for one in blocks]
        except (ValueError, CommandFailedError) as error:
            yield str(error)
            return
        lines = []
        for old, run in zip(blocks, new, strict=True):
            shown, printed = trimmed(old.output), trimmed(run.output)
            if not matches(shown, printed):
                yield f"{run.command}: {STALE}\n{run.output}"
            lines += [f"$ {run.command}", *renewed(shown, printed)]
        self._replace(example, source, lines)

    def _compare(self, example: Example, source: str, printed: str) -> Iterator[str]:
        shown, lines = trimmed(source), trimmed(printed)
        if not matches(shown, lines):
            yield f"{STALE}\n{printed}"
        self._replace(example, source, renewed(shown, lines))

    def _replace(self, example: Example, source: str, lines: list[str]) -> None:
        if trimmed(source) != lines and source in example.document.text[example.start :]:
            start = example.document.text.index(source, example.start)
            self._edits.append((start, start + len(source), "\n".join([*lines, ""])))


def check_toml(source: str, *, recipe: bool = False) -> Iterator[str]:
    """Yield what is wrong with a policy or a training recipe."""
    try:
        if recipe:
            yield from _recipe(source)
        else:
            table = tomllib.loads(source)
            if not _OTHER_TABLES & table.keys():
                from_data(table)
    except (tomllib.TOMLDecodeError, SplitReasonError) as error:
        yield str(error)


def _recipe(source: str) -> Iterator[str]:
    file = Path("recipe.toml")
    file.write_text(source, "utf-8")
    faults = []
    for load in (load_sft, load_grpo):
        try:
            load(file)
        except SplitReasonError as error:
            faults.append(str(error))
    if len(faults) > 1:
        yield " and ".join(faults)

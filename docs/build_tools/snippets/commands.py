"""Command lines that pages show: parsed by the real command line, and not run."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from build_tools.snippets.names import READERS
from splitreason_integrations.cli import app
from splitreason_integrations.errors import SplitReasonError
from splitreason_integrations.settings.policy_files import template_names

ROOT = Path(__file__).parents[3]
PACKAGE = "splitreason-integrations"
SHOWN = frozenset(
    (
        "cd",
        "curl",
        "docker",
        "export",
        "git",
        "gunicorn",
        "kubectl",
        "openssl",
        "ray",
        "source",
        "tr",
        "vllm",
    )
)
"""Programs of others, whose words are not checked."""

_COMMENT = re.compile(r"(^|\s)#(\s.*)?$")
_CONTINUED = re.compile(r"(\\|(?<=\|))\n\s*")
_PLACEHOLDER = re.compile(r"[$…]|^[A-Z]+(#[A-Z]+)?$")
_OPERATORS = frozenset("|&;()<>")
_INLINE = re.compile(r"(?<!`)`((?:splitreason|make) [^`]+)`(?!`)")


def check_shell(text: str) -> Iterator[str]:
    """Yield what is wrong with the lines of a block of shell commands."""
    for line in _CONTINUED.sub(" ", text).splitlines():
        for words in _commands(line):
            for fault in _check(words):
                yield f"{shlex.join(words)}: {fault}"


def check_inline(text: str) -> Iterator[str]:
    """Yield what is wrong with commands between backquotes; these may lack arguments."""
    for found in _INLINE.finditer(text):
        command = " ".join(re.sub(r"\n\s*#?", " ", found[1]).replace(" …", "").split())
        for words in _commands(command):
            for fault in _check(words, complete=False):
                yield f"`{command}`: {fault}"


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(_COMMENT.sub("", line), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if redirected:
            redirected = False
        elif set(word) <= _OPERATORS:
            redirected = ">" in word or "<" in word
            if not redirected:
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words:
                    yield words
                words = []
        else:
            words.append(word)


def _check(words: list[str], *, complete: bool = True) -> Iterator[str]:
    program, *rest = words
    if program == "splitreason":
        yield from check_splitreason(rest, complete=complete)
    elif program == "pip":
        yield from _extras(rest)
    elif program == "make":
        yield from _targets(rest)
    elif program in {"python", "python3"}:
        yield from (
            f"there is no {word}"
            for word in rest
            if word.endswith(".py") and not (ROOT / word).exists()
        )
    elif program not in SHOWN:
        yield f"{program!r} is not a program that these checks know"


def check_splitreason(arguments: list[str], *, complete: bool = True) -> Iterator[str]:
    """Yield what the command line refuses; with `complete=False`, arguments may be missing."""
    context, command, rest = None, get_command(app), arguments
    try:
        while True:
            context = command.make_context(command.name or "", list(rest), parent=context)
            left = [*getattr(context, "_protected_args", ()), *context.args]
            if not hasattr(command, "resolve_command") or not left:
                break
            _, found, rest = command.resolve_command(context, left)
            if found is None:
                break
            command = found
            if not rest and not complete:
                return
    except typer.Exit:
        return
    except typer.TyperException as error:
        if complete or type(error).__name__ != "MissingParameter":
            yield str(getattr(error, "message", "") or error) or type(error).__name__
        return
    yield from _values(context.params)


def _policy(name: str) -> None:
    if not name.endswith(".toml") and name not in template_names():
        raise SplitReasonError(f"no ready-made policy is named {name!r}")


def _values(parameters: Mapping[str, Any]) -> Iterator[str]:
    readers = {**READERS, "policy": _policy}
    for key, value in parameters.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if key not in readers or not isinstance(one, str) or _PLACEHOLDER.search(one):
                continue
            try:
                readers[key](one)
            except SplitReasonError as error:
                yield f"{key} {one!r}: {error}"


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _extras(words: list[str]) -> Iterator[str]:
    known = _project()["project"]["optional-dependencies"]
    for word in words:
        found = re.fullmatch(rf"(?:{PACKAGE}|\.)\[([^\]]*)\].*", word)
        for extra in found[1].split(",") if found else ():
            if extra not in known:
                yield f"there is no extra {extra!r}"


def _targets(words: list[str]) -> Iterator[str]:
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for word in words:
        if "=" not in word and not word.startswith("-") and word not in known:
            yield f"there is no target {word!r}"

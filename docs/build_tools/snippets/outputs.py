"""What commands and code print, against what a page shows; `…` stands for anything."""

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from splitreason_integrations.cli import main

ANY = "…"
ENVIRONMENT: Mapping[str, str] = {"COLUMNS": "80", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}


class CommandFailedError(Exception):
    """A command of a page ended with another status than 0."""


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Within the block, programs see a terminal of 80 columns without colour."""
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run_command(line: str) -> str:
    """Run a `splitreason …` line in this process; return what it printed.

    Raises:
        CommandFailedError: if it is another program, or ends with another status than 0.

    """
    program, *arguments = shlex.split(line)
    if program != "splitreason":
        raise CommandFailedError(f"{line}: only splitreason is run")
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [program, *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        if ended.code:
            raise CommandFailedError(f"{line}: status {ended.code}: {err.getvalue()}") from None
    finally:
        sys.argv = before
    return out.getvalue()


@dataclass(frozen=True)
class Shown:
    """A command and the output that a page shows below it."""

    command: str
    output: str


def read_console(text: str) -> list[Shown]:
    """Return the commands of a console block, each with its output.

    Raises:
        ValueError: if the block does not begin with a command.

    """
    if not text.startswith("$ "):
        raise ValueError("a console block begins with a command: `$ splitreason …`")
    parts = ("\n" + text).split("\n$ ")[1:]
    return [Shown(*part.partition("\n")[::2]) for part in parts]


def trimmed(text: str) -> list[str]:
    """Return the lines of a text without spaces at their ends, and without empty last lines."""
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def matches(shown: list[str], printed: list[str]) -> bool:
    """Return whether lines are those shown; a line `…` is any lines, `…` at an end any text."""
    if not shown:
        return not printed
    first, *rest = shown
    if first == ANY:
        return any(matches(rest, printed[at:]) for at in range(len(printed) + 1))
    if not printed:
        return False
    same = first == printed[0]
    if not same and first.endswith(ANY):
        same = printed[0].startswith(first.removesuffix(ANY).rstrip())
    return same and matches(rest, printed[1:])


def renewed(shown: list[str], printed: list[str]) -> list[str]:
    """Return the printed lines, shortened by `…` where the shown ones are."""
    if matches(shown, printed):
        return shown
    if ANY not in shown:
        pairs = zip(shown, printed, strict=False)
        return [*(_line(*pair) for pair in pairs), *printed[len(shown) :]]
    head = shown.index(ANY)
    tail = len(shown) - 1 - shown[::-1].index(ANY)
    begin = [_line(*pair) for pair in zip(shown[:head], printed, strict=False)]
    count = len(shown) - tail - 1
    end = printed[max(len(begin), len(printed) - count) :] if count else []
    return [*begin, ANY, *end]


def _line(shown: str, printed: str) -> str:
    if not shown.endswith(ANY):
        return printed
    return f"{printed[: len(shown) - 2].rstrip()} {ANY}" if len(printed) > len(shown) else printed

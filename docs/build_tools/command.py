"""The command's help, as it prints it at 80 columns."""

from collections.abc import Iterator
from typing import Any

import typer
import typer.main

from splitreason_integrations.cli import app

COLUMNS = 80


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its whole name, groups before their commands."""
    yield from _below("splitreason", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _below(f"{name} {part}", below)


def help_text(name: str, command: Any) -> str:
    """Return what `--help` prints of a command."""
    context = typer.Context(
        command, info_name=name, terminal_width=COLUMNS, max_content_width=COLUMNS
    )
    return str(command.get_help(context)).strip()


def all_help() -> str:
    """Return for each command a heading and its help."""
    return "\n".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    level = "##" if name.count(" ") < 2 else "###"
    return f"{level} `{name}`\n\n```text\n{help_text(name, command)}\n```\n"

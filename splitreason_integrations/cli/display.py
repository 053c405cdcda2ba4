"""Print a reply in a terminal, distinguishing small and large text, and its cost."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from splitreason_integrations import blocking
from splitreason_integrations.backends.description import Role
from splitreason_integrations.backends.registry import (
    ModelSpec,
    is_loaded,
    is_on_server,
    line_up,
    load_model,
    public_name,
)
from splitreason_integrations.cli.wrapping import WordWrap
from splitreason_integrations.humans.screen import Screen
from splitreason_integrations.records import Author, Channel, Completion, Delta
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.records.view import facts_line

if TYPE_CHECKING:
    from splitreason_integrations.engine import SplitEngine

LARGE_STYLE = "bold magenta"
PLAIN_EVERY_S = 15.0
"""Seconds between two lines of progress where there is no terminal."""

_REASONING_STYLE = "dim"


def load_models(engine: "SplitEngine") -> None:
    """Load an engine's local weights now, and show on standard error which ones."""
    _load(engine.small, "small")
    if engine.uses_large:
        _load(line_up(engine.large)[0], "large")


def _load(spec: ModelSpec, role: Role) -> None:
    if is_on_server(spec, role=role) or is_loaded(spec, role=role):
        return
    with loading(f"{public_name(spec)}, the {role} model"):
        blocking.run(lambda: load_model(spec, role=role))


@contextmanager
def loading(what: str) -> Generator[None, None, None]:
    """Show on standard error, if that is a terminal, what is being loaded and for how long."""
    console = Screen(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        shown.add_task(escape(f"loading {what} …"), total=None)
        yield


class ReplyPrinter:
    """Print deltas as they arrive, wrapped at words.

    Without a terminal, large text is in ⟦brackets⟧.
    """

    def __init__(self, console: Console) -> None:
        self._out = WordWrap(console)
        self._plain = not console.is_terminal
        self._author = Author.SMALL
        self._channel = Channel.REASONING
        self._began = False

    def show(self, delta: Delta) -> None:
        """Print one delta, but for a word at its end that may go on."""
        if not delta.text:
            return
        self._began = True
        if delta.channel is not self._channel:
            self._switch(Author.SMALL)
            self._out.write("\n\n" if self._channel is Channel.REASONING else "\n")
            self._channel = delta.channel
        self._switch(delta.author)
        large = delta.author is Author.LARGE
        small_style = _REASONING_STYLE if delta.channel is Channel.REASONING else ""
        self._out.write(harmless(delta.text), LARGE_STYLE if large else small_style)

    def abandon(self) -> None:
        """End the line of a reply that is not finished, if one was begun."""
        if self._began:
            self.finish()

    def pause(self) -> None:
        """Print what is held back, because somebody else writes to the terminal now."""
        self._out.restart()

    def finish(self) -> None:
        """End the reply's last line."""
        self._switch(Author.SMALL)
        self._out.write("\n")

    def _switch(self, author: Author) -> None:
        if self._plain and author is not self._author:
            self._out.write("⟦" if author is Author.LARGE else "⟧")
        self._author = author


def cost_line(reply: Completion, *, timed: bool = True) -> str:
    """Return one line with the tokens, the time unless it is left out, and the cost of a reply."""
    return facts_line(reply.facts(), timed=timed)


def choice_line(reply: Completion) -> str | None:
    """Return what opened and ended spans and why, where it was chosen and is not the tag."""
    if reply.choice_reason is None or reply.trigger == "tag":
        return None
    closing = f", closed by {reply.close}" if reply.close else ""
    return harmless(f"spans opened by {reply.trigger}{closing}: {reply.choice_reason}")


class RateColumn(ProgressColumn):
    """Items finished per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, once it is known."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class ProgressShown(Progress):
    """Bars at a terminal; elsewhere, as in a log file, a plain line now and then.

    Args:
        columns: What a bar shows.
        console: Where it is shown.

    """

    def __init__(self, *columns: str | ProgressColumn, console: Console) -> None:
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._said_s = time.monotonic()

    def add_task(self, description: str, **more: Any) -> TaskID:  # type: ignore[override]
        """Add a task; its total is unknown until it is given, not 100 as in rich."""
        return super().add_task(description, **{"total": None, **more})

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Update a task; print a line if the last one was printed long enough ago."""
        super().update(task_id, **changes)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._said_s >= PLAIN_EVERY_S:
            self._said_s = now
            self.console.print(Text(_line(self._tasks[task_id])), soft_wrap=True)


def _line(task: Task) -> str:
    of = "" if task.total is None else f" of {task.total:,.0f}"
    name = f"{task.description}: " if task.description else ""
    more = "".join(f", {field}" for field in task.fields.values() if field)
    return harmless(f"{name}{task.completed:,.0f}{of}{more}")


@contextmanager
def progress_bar() -> Generator[Progress, None, None]:
    """Show progress on standard error."""
    console = Screen(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with ProgressShown(*columns, console=console) as bar:
        yield bar


@contextmanager
def progress_by_name() -> Generator[Callable[[str, int, int], None], None, None]:
    """Show a bar for each piece of work; yield what takes its name, what is done, and of how much.

    A bar appears when its work is first reported.
    """
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def on_progress(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=done, total=of)

        yield on_progress

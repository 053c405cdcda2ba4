"""`ConsoleReviewer`: asks the person at the terminal, one question at a time.

No thread waits for input, so a question that is cancelled or times out stops reading it.
"""

import os
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

import anyio
from rich.console import Console
from rich.text import Text

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import Answer, Decision, Paused, named_reviewer
from splitreason_integrations.humans.screen import Screen
from splitreason_integrations.humans.terminal import login_name
from splitreason_integrations.processes.children import PerProcess
from splitreason_integrations.records.printable import harmless

_SHOWN_CHARACTERS = 1500
_POLL_S = 0.1
_PROMPT = "[a]pprove  [r]efuse  [e]dit  [s]top  [m]ore  [h]elp > "
_HELP = {
    "before": (
        "approve: the large model writes\n"
        "refuse: the small model writes the passage itself\n"
        "edit TEXT: the large model writes with TEXT as a hint\n"
    ),
    "after": (
        "approve: the reply keeps what the large model wrote\n"
        "refuse: the small model writes the passage itself\n"
        "edit TEXT: TEXT replaces it; without TEXT it is asked for, line by line\n"
    ),
}
_HELP_ON_REST = (
    "stop: the reply ends here\n"
    "more: show all of the reply so far\n"
    "The first letter is enough. Ctrl-D leaves the answer to the rule for no answer in time."
)
_WORDS = ("approve", "refuse", "edit", "stop", "more", "help")

# One for the process: requests may run in several event loops and share the keyboard.
_asking = PerProcess(threading.Lock)


@named_reviewer
@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleReviewer:
    """Asks at the terminal: the reply so far, what it cost, and what the large model wrote.

    `by` is who answers, the user's login name without. Questions of several requests follow one
    another; a human check's `timeout_s` counts the wait for one's turn too. At the end of input
    (Ctrl-D) its `on_timeout` is the answer. `keyboard` and `console` are standard input and
    standard error unless given. Raises ConfigurationError where these are no terminal.
    """

    by: str | None = None
    keyboard: TextIO | None = None
    console: Console | None = None

    async def review(self, paused: Paused) -> Answer | None:
        """Return what the person at the terminal answers."""
        keyboard, console = self.require_terminal()
        by = self.by or login_name()
        async with _turn():
            dialogue = _Dialogue(paused, _Lines(keyboard), console)
            try:
                return await dialogue.answer(by)
            except anyio.get_cancelled_exc_class():
                console.print("\nthis question is closed", style="dim")
                raise

    def require_terminal(self) -> tuple[int, Console]:
        """Return the keyboard's descriptor and the console; raise ConfigurationError if none."""
        keyboard = self.keyboard or sys.stdin
        console = self.console or Screen(stderr=True, highlight=False)
        if sys.platform == "win32" or keyboard is None or not keyboard.isatty():
            raise ConfigurationError(
                "nobody can be asked: standard input is no terminal (on POSIX systems); run this "
                "in one, or let people answer later with HumanCheck(reviewer=ReviewQueue(...))"
            )
        if not console.is_terminal:
            raise ConfigurationError(
                "nobody would see the question: standard error is no terminal; leave it one, or "
                "let people answer later with HumanCheck(reviewer=ReviewQueue(...))"
            )
        return keyboard.fileno(), console


class _Lines:
    """What is typed from now on, line by line; None at the end of input."""

    def __init__(self, descriptor: int) -> None:
        import termios

        self._descriptor = descriptor
        self._typed = b""
        # What was typed before the question was seen does not answer it.
        termios.tcflush(descriptor, termios.TCIFLUSH)

    async def next(self) -> str | None:
        while b"\n" not in self._typed:
            await anyio.wait_readable(self._descriptor)
            try:
                new = os.read(self._descriptor, 4096)
            except OSError:  # the terminal is gone
                new = b""
            if not new:
                return None
            self._typed += new
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")


class _Dialogue:
    """One question on the screen, and what is typed about it."""

    def __init__(self, paused: Paused, lines: _Lines, console: Console) -> None:
        self._paused = paused
        self._question = paused.question
        self._lines = lines
        self._console = console

    async def answer(self, by: str) -> Answer:
        """Ask until there is an answer."""
        self._show()
        while True:
            self._say(_PROMPT, end="")
            line = await self._lines.next()
            if line is None:
                return self._default()
            word, _, text = line.lstrip().partition(" ")
            match [known for known in _WORDS if word and known.startswith(word.lower())]:
                case ["edit"]:
                    edited = text or await self._lines_of_edit()
                    if edited is None:
                        return self._default()
                    if edited:
                        return Answer(decision=Decision.EDIT, text=edited, by=by)
                case ["more"]:
                    self._say(self._question.context)
                case ["approve" | "refuse" | "stop" as decided]:
                    return Answer(decision=Decision(decided), by=by)
                case found:
                    self._say(_problem(word, found))
                    self._say(_HELP[self._question.moment] + _HELP_ON_REST)

    async def _lines_of_edit(self) -> str | None:
        """Return a text of several lines; an empty one where it was left, None at the end."""
        self._say("type the text; end with a line that holds only a dot (a dot at once goes back):")
        lines: list[str] = []
        while (line := await self._lines.next()) != ".":
            if line is None:
                return None
            lines.append(line)
        return "\n".join(lines)

    def _show(self) -> None:
        question, paused = self._question, self._paused
        number = question.span + 1  # people count from 1
        titles = {
            "before": f"may {question.model} write span {number}?",
            "after": f"accept span {number} by {question.model}?",
        }
        self._console.print()
        self._console.rule(Text(harmless(titles[question.moment])))
        context = question.context
        if len(context) > _SHOWN_CHARACTERS:
            hidden = len(context) - _SHOWN_CHARACTERS
            self._say(f"({hidden} characters before this: more)", style="dim")
            context = context[-_SHOWN_CHARACTERS:]
        self._say(context)
        if question.moment == "after":
            self._say("what the large model wrote:", style="dim")
            self._say(question.text, style="bold")
        facts = [
            f"request {question.request_id[:10]}",
            f"opened by {question.opened_by}",
            f"large share so far {question.offload_share:.1%}",
            f"{question.cost_usd:.6f} USD so far",
            *(f"{name}: {value}" for name, value in question.metadata.items()),
        ]
        self._say(", ".join(facts), style="dim")
        if paused.timeout_s is not None:
            self._say(f"no answer within {paused.timeout_s:g} s: {paused.on_timeout}", style="dim")

    def _default(self) -> Answer:
        decision = self._paused.on_timeout
        self._say(f"\nno answer: {decision}", style="dim")
        return Answer(decision=decision, by="end of input")

    def _say(self, text: str, *, style: str = "", end: str = "\n") -> None:
        self._console.print(Text(harmless(text), style=style), end=end, soft_wrap=True)


def _problem(word: str, found: list[str]) -> str:
    """Return why what was typed is no answer; empty where nothing was, or help was asked for."""
    if not word or found == ["help"]:
        return ""
    if found:
        return f"{word!r} may mean {' or '.join(found)}"
    return f"{word!r} is no answer"


@asynccontextmanager
async def _turn() -> AsyncGenerator[None, None]:
    """Wait until no other question is on the screen."""
    asking = _asking.value
    while not asking.acquire(blocking=False):  # noqa: ASYNC110 - its holder may be on another loop
        await anyio.sleep(_POLL_S)
    try:
        yield
    finally:
        asking.release()

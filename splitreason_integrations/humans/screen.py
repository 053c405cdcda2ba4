"""The door for all text that reaches a terminal: what it holds is shown and does nothing.

Texts of models, users, reviewers, servers and files may hold escape sequences, characters that turn
or hide text, and rich's markup. No other module prints.
"""

from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from splitreason_integrations.records.printable import harmless


class Screen(Console):
    """A console on which no text acts: `harmless` has it, and markup is text unless asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **settings})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of something; what moves the cursor is rich's own."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text to standard output, or to standard error with `err`."""
    typer.echo(harmless(text), err=err, nl=nl)

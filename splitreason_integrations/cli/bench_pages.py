"""Option `--into` of benchmarks: files in which they replace the figures between two markers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from splitreason_integrations.evals import marked

Into = Annotated[
    list[Path] | None,
    typer.Option(help="Files, such as README.md, whose marked part is replaced; repeatable."),
]


def check_pages(pages: Sequence[Path] | None, markers: str) -> None:
    """Check, before anything is measured, that each file has the markers.

    Raises:
        RequestError: A file cannot be read, or lacks the markers.

    """
    for page in pages or ():
        marked.split_at(page, markers)


def write_pages(pages: Sequence[Path] | None, markers: str, figures: str) -> None:
    """Replace the figures between the markers of each file."""
    for page in pages or ():
        marked.write_into(page, markers, figures)

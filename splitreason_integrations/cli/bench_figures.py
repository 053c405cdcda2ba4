"""`splitreason bench figures`: put measured figures into pages."""

from pathlib import Path
from typing import Annotated

import typer

from splitreason_integrations.errors import RequestError
from splitreason_integrations.humans.screen import echo


def figures_command(
    pages: Annotated[
        list[Path],
        typer.Argument(help="Markdown files, or folders of them; their marked places are filled."),
    ],
    data: Annotated[
        Path, typer.Option(help="Folder of JSON files, each as a benchmark printed it.")
    ] = Path("docs/figures"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; fail if a page or a plot is out of date."),
    ] = False,
) -> None:
    """Fill the marked places of pages with tables made from measured JSON files.

    A marked place is the lines <!-- figures: NAME --> and <!-- end of figures: NAME -->. Plots are
    drawn beside the JSON files that they are made of.
    """
    from splitreason_integrations.evals.figures import update_pages, update_plots

    changed = update_pages(_files(pages), data, write=not check)
    changed += update_plots(data, write=not check)
    if check and changed:
        raise RequestError(
            f"out of date: {', '.join(map(str, changed))}; run splitreason bench figures"
        )
    for page in changed:
        echo(f"{page} changed")


def _files(pages: list[Path]) -> list[Path]:
    """Return the files among pages, and all Markdown files of the folders."""
    found = []
    for page in pages:
        if not page.exists():
            raise RequestError(f"{page}: there is no such file or folder")
        found += sorted(page.rglob("*.md")) if page.is_dir() else [page]
    return found

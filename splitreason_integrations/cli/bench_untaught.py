"""`splitreason bench untaught`: the bundled pair without any learned tags."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from splitreason_integrations.checks import check_extra
from splitreason_integrations.cli import options
from splitreason_integrations.cli.display import progress_bar


def untaught_command(
    samples: Annotated[
        int, typer.Option(min=4, help="Problems of the main rows; a quarter of them for others.")
    ] = 1000,
    seed: options.Seed = 0,
    into: Annotated[
        list[Path] | None,
        typer.Option(help="Files whose part between the markers is replaced; repeatable."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure triggers and close rules that need no training, on an untaught small model."""
    check_extra("local", "torch", what="bench untaught")
    from splitreason_integrations.evals import marked
    from splitreason_integrations.evals.untaught import in_markdown, measure_untaught

    for path in into or ():
        marked.split_at(path, "untaught")
    with progress_bar() as bar:
        bars: dict[str, Any] = {}

        def on_progress(what: str, done: int, of: int) -> None:
            if what not in bars:
                bars[what] = bar.add_task(what)
            bar.update(bars[what], completed=done, total=of)

        found = measure_untaught(
            samples=samples,
            seed=seed,
            command=f"splitreason bench untaught --samples {samples} --seed {seed}",
            on_progress=on_progress,
        )
    for path in into or ():
        marked.write_into(path, "untaught", in_markdown(found))
    typer.echo(json.dumps(found) if as_json else in_markdown(found))

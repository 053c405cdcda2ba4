"""The `splitreason train` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train models.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train models."""


@app.command()
def pair(
    out: Annotated[Path, typer.Option(help="Folder for the pair; an interrupted run resumes.")],
    scale: Annotated[float, typer.Option(help="1.0 is the full run, less is shorter.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of data and weights.")] = 0,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Folder of a finished pair to go on from, in a quarter of the time."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
) -> None:
    """Train the embedded pair: tokenizer, both models, annotation, fine-tuning."""
    import torch
    from rich.console import Console
    from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

    from splitreason_integrations.training.pair import train_pair
    from splitreason_integrations.training.parallel import at_once
    from splitreason_integrations.training.run import Settings

    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, loss="")
            shown = f"loss {loss:.3f}" if loss else ""
            progress.update(tasks[stage], completed=done, total=total, loss=shown)
            if not progress.console.is_terminal and done % max(1, total // 10) == 0:
                progress.console.print(f"{stage}: {done} of {total} {shown}", highlight=False)

        try:
            settings = Settings(scale=scale, seed=seed, start=str(start) if start else None)
            train_pair(out, settings, device=chosen, tell=tell, carry_out=at_once)
        except (ValueError, ImportError, OSError, RuntimeError) as error:
            Console(stderr=True).print(f"error: {error}", style="red")
            raise typer.Exit(2) from error
    typer.echo(str(out))

"""`splitreason train`: train small models to offload, or the bundled pair."""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from splitreason_integrations.checks import check_extra, check_positive
from splitreason_integrations.cli import options
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.training.offloading.runs import OnProgress

Out = Annotated[Path, typer.Option(help="Folder of the run; an interrupted run resumes.")]
Recipe = Annotated[Path, typer.Option(help="TOML file that describes the run.")]

app = typer.Typer(help="Train models.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train models."""


@app.command()
def sft(recipe: Recipe, out: Out) -> None:
    """Fine-tune a small model on tagged traces, as `splitreason annotate` writes them.

    With several GPUs: accelerate launch --config_file FILE $(command -v splitreason) train sft …
    """
    from splitreason_integrations.training.offloading.recipe import load_sft
    from splitreason_integrations.training.offloading.sft import fine_tune

    described = load_sft(recipe)
    with _progress("sft", ("loss", "mean_token_accuracy")) as on_progress:
        fine_tune(described, out, command=options.command_line(), on_progress=on_progress)
    echo(str(out))


@app.command()
def grpo(recipe: Recipe, out: Out) -> None:
    """Train a small model on its own rollouts, in which calls of the large model are real and cost.

    With several GPUs: accelerate launch --config_file FILE $(command -v splitreason) train grpo …
    """
    from splitreason_integrations.training.offloading.grpo import reinforce
    from splitreason_integrations.training.offloading.recipe import load_grpo

    described = load_grpo(recipe)
    with _progress("grpo", ("reward", "right", "offload_share", "usd", "wait_s")) as on_progress:
        reinforce(described, out, command=options.command_line(), on_progress=on_progress)
    echo(str(out))


@app.command()
def traces(
    out: Annotated[Path, typer.Option(help="JSON lines file to write, for `train sft`.")],
    count: Annotated[int, typer.Option(min=1, help="Number of traces.")] = 12_000,
    tries: Annotated[
        float,
        typer.Option(
            help="A step is tagged with the probability that one of this many attempts fails."
        ),
    ] = 1.0,
    family: Annotated[
        str, typer.Option(help="Families of problems, comma-separated.")
    ] = "word,context,frameworks,chat,tools",
    seed: Annotated[int, typer.Option(help="Seed of the problems and the tags.")] = 0,
) -> None:
    """Write the bundled pair's own problems as tagged traces, hard steps found by its gap."""
    from splitreason_integrations.evals.tasks import known_families
    from splitreason_integrations.training.traces import SHARES, pair_traces

    options.check_folder(out)
    check_positive("--tries", tries)
    families = known_families(family.split(","))
    shares = {name: share for name, share in SHARES.items() if name in families}
    temporary = out.with_name(f"{out.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file, _progress("traces", ()) as on_progress:
        for done, row in enumerate(pair_traces(count, tries=tries, seed=seed, shares=shares), 1):
            file.write(f"{json.dumps(row)}\n")
            on_progress(done, count, {})
    os.replace(temporary, out)
    echo(str(out))


@contextmanager
def _progress(what: str, shown: tuple[str, ...]) -> Generator[OnProgress]:
    """Show a run's progress and some of its figures on standard error."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    console = Screen(stderr=True)
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(what, text="")

        def on_progress(done: int, of: int, figures: Mapping[str, float]) -> None:
            text = ", ".join(f"{name} {figures[name]:.4g}" for name in shown if name in figures)
            progress.update(task, completed=done, total=of)
            if text:
                progress.update(task, text=text)
            if text and not console.is_terminal:
                console.print(f"{what}: {done} of {of}, {text}", highlight=False)

        yield on_progress


@app.command()
def pair(
    out: Annotated[Path, typer.Option(help="Folder for the pair; an interrupted run resumes.")],
    scale: Annotated[float, typer.Option(help="Length of the run; 1.0 is the full run.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of data and weights.")] = 0,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Finished pair to continue from; this takes a quarter of the time."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
) -> None:
    """Train the bundled pair: tokenizer, both models, annotation, fine-tuning, rollouts."""
    check_extra("train", "torch", what="training the pair")
    import torch
    from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

    from splitreason_integrations.training.pair import train_pair
    from splitreason_integrations.training.parallel import in_parallel
    from splitreason_integrations.training.run import Settings

    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Screen(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(stage: str, done: int, total: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, loss="")
            shown = f"loss {loss:.3f}" if loss else ""
            progress.update(tasks[stage], completed=done, total=total, loss=shown)
            if not progress.console.is_terminal and done % max(1, total // 10) == 0:
                progress.console.print(f"{stage}: {done} of {total} {shown}", highlight=False)

        try:
            settings = Settings(scale=scale, seed=seed, start=str(start) if start else None)
            train_pair(out, settings, device=chosen, on_progress=on_progress, run_jobs=in_parallel)
        except (ValueError, ImportError, OSError, RuntimeError) as error:
            Screen(stderr=True).print(f"error: {error}", style="red")
            raise typer.Exit(2) from error
    echo(str(out))

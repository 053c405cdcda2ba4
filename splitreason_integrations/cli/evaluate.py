"""`splitreason eval`: accuracy and offload share over a set of tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from splitreason_integrations.cli import options
from splitreason_integrations.cli.display import progress_bar
from splitreason_integrations.evals import report, tables
from splitreason_integrations.evals.runner import MODES, Progress, compare
from splitreason_integrations.evals.tasks import Task, generated, read_jsonl

_T = TypeVar("_T")


def evaluate(
    mode: Annotated[str, typer.Option(help=f"What writes: {', '.join(MODES)}, or all.")] = "split",
    data: Annotated[
        Path | None,
        typer.Option(help="JSON lines with question or messages, and answer; else fresh problems."),
    ] = None,
    family: Annotated[
        str, typer.Option(help="Families of fresh problems: word,context,frameworks,tools,chat.")
    ] = "word,context",
    split: Annotated[
        str, typer.Option(help="dev, test (unseen problems) or test-operands (unseen operands).")
    ] = "test",
    samples: Annotated[int, typer.Option(min=1, help="How many tasks.")] = 200,
    small: options.Small = "embedded",
    large: options.Large = "embedded",
    trigger: options.OwnTrigger = None,
    policy: options.PolicyName = None,
    max_share: options.MaxShare = None,
    max_tokens: options.MaxTokens = 512,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure accuracy (95 % Wilson interval), offload share, spans and latency, greedily.

    `random` and `entropy` may open a span at any token, as often as gives the offload share that
    `split` has on the same tasks. A policy holds for all modes but `large`.
    """
    described = options.engine(small, large, trigger, max_share, policy)
    engine = options.keyed(described, api_key_env)
    tasks = _tasks(data, family, split, samples, seed)
    modes = MODES if mode == "all" else (mode,)
    results = measure(
        lambda progress: compare(
            modes, engine, tasks, seed=seed, max_tokens=max_tokens, progress=progress
        )
    )
    if as_json:
        rows = [result.data() for result in results]
        figures = rows[0] if len(rows) == 1 else {"mode": mode, "modes": rows}
        typer.echo(json.dumps({**figures, **report.context(options.command_line())}))
        return
    Console(highlight=False).print(tables.for_terminal(results))


def measure(run: Callable[[Progress], _T]) -> _T:
    """Return what `run` measures, with a progress bar."""
    with progress_bar() as bar:
        task = bar.add_task("")

        def progress(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        return run(progress)


def _tasks(data: Path | None, family: str, split: str, samples: int, seed: int) -> list[Task]:
    if data is not None:
        return read_jsonl(data)[:samples]
    return generated(split, family.split(","), n=samples, seed=seed)

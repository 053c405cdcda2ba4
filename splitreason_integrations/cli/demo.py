"""`splitreason demo`: solve fresh problems with the embedded pair, then show its figures."""

import json
import random
from typing import Annotated

import typer
from rich.console import Console

from splitreason_integrations.cli import options
from splitreason_integrations.cli.ask import stream
from splitreason_integrations.cli.display import LARGE_STYLE, cost_line, load_models
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals import tables
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import compare
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.request import Request

_MODES = ("small", "large", "split", "random")


def demo(
    problems: Annotated[int, typer.Option(min=1, help="Problems to show.")] = 4,
    eval_problems: Annotated[int, typer.Option(min=1, help="Problems in the table.")] = 100,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the problems; random by default.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Watch the small model hand off its hard steps, then compare with either model alone."""
    engine = SplitEngine()
    options.compute_on_one_thread()
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    tasks = generated("test", ["word", "context"], n=max(problems, eval_problems), seed=seed)
    load_models(engine)
    if as_json:
        typer.echo(json.dumps([result.data() for result in _compare(engine, tasks, seed)]))
        return
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(f"small model, [{LARGE_STYLE}]large model[/]\n")
    else:
        console.print("small model, ⟦large model⟧\n")
    shuffled = random.Random(seed).sample(tasks, problems)
    for task in shuffled:
        _show(engine, task, seed, console)
    results = _compare(engine, tasks[:eval_problems], seed)
    console.print(f"{len(tasks[:eval_problems])} problems never trained on, seed {seed}, greedy:\n")
    console.print(tables.for_terminal(results))


def _show(engine: SplitEngine, task: Task, seed: int, console: Console) -> None:
    console.print(str(task.messages[-1]["content"]), style="bold", markup=False, soft_wrap=True)
    console.print()
    reply = stream(engine, Request(messages=task.messages, max_tokens=512, seed=seed), console)
    verdict = "right" if task.right(reply.answer) else f"wrong: the answer is {task.answer}"
    console.print(
        f"\n{verdict}; {cost_line(reply)}\n{'─' * 60}\n", style="dim", markup=False, soft_wrap=True
    )


def _compare(engine: SplitEngine, tasks: list[Task], seed: int) -> list[Result]:
    return measure(lambda progress: compare(_MODES, engine, tasks, seed=seed, progress=progress))

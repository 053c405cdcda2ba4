"""`splitreason demo`: solve fresh problems with the bundled pair, then show its figures."""

import json
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from splitreason_integrations.cli import options
from splitreason_integrations.cli.ask import stream
from splitreason_integrations.cli.display import LARGE_STYLE, cost_line, load_models, loading
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import WordWrap
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.figures.headline import EXAMPLE_PRICES
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.report import context
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import compare
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.request import Request

_NAMES = {
    "small": "small model alone",
    "large": "large model alone",
    "split": "split: both models",
    "random": "random spans",
}
_HEADINGS = ("", "right", "95 % interval", "large tokens", "share", "USD per 1,000")
_EVAL_PROBLEMS = 100
_RULE_WIDTH = 60


def demo(
    problems: Annotated[int, typer.Option(min=1, help="Problems to show.")] = 4,
    eval_problems: Annotated[
        int, typer.Option(min=1, help="Problems in the table.")
    ] = _EVAL_PROBLEMS,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the problems; random by default.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Watch the small model hand off its hard steps, then compare with either model alone."""
    engine = SplitEngine(small="embedded", large="embedded")
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    tasks = generated("test", ["word", "context"], n=max(problems, eval_problems), seed=seed)
    _load(engine, quiet=as_json)
    if as_json:
        results = _compare(engine, tasks, seed)
        summaries = _summaries(results)
        rows = [{**result.data(), "summary": summaries[result.mode]} for result in results]
        echo(json.dumps({"rows": rows, **context(_command(eval_problems, seed))}))
        return
    console = Screen(highlight=False)
    out = WordWrap(console)
    if console.is_terminal:
        console.print(f"small model, [{LARGE_STYLE}]large model[/]\n", markup=True)
    else:
        console.print("small model, ⟦large model⟧\n")
    for task in random.Random(seed).sample(tasks, problems):
        _show(engine, task, seed, console, out)
    results = _compare(engine, tasks[:eval_problems], seed)
    out.write(f"{results[0].tasks} problems never trained on, seed {seed}, greedy:\n\n")
    print_table(console, _table(results))
    out.write(f"\n{_sentence(_summaries(results), results[0].tasks)}\n")


def _command(eval_problems: int, seed: int) -> str:
    """Return what measures the same table again."""
    number = "" if eval_problems == _EVAL_PROBLEMS else f" --eval-problems {eval_problems}"
    return f"splitreason demo{number} --seed {seed}"


def _load(engine: SplitEngine, *, quiet: bool) -> None:
    """Load torch and the pair, and show it; without a terminal in one line, unless quiet."""
    if not quiet and not sys.stderr.isatty():
        echo("loading the bundled pair …", err=True)
    with loading("PyTorch"):
        options.compute_on_one_thread()
    load_models(engine)


def _show(engine: SplitEngine, task: Task, seed: int, console: Console, out: WordWrap) -> None:
    out.write(f"{task.messages[-1]['content']}\n\n", "bold")
    reply = stream(engine, Request(messages=task.messages, max_tokens=512, seed=seed), console)
    verdict = "right" if task.right(reply.answer) else f"wrong: the answer is {task.answer}"
    rule = "─" * min(_RULE_WIDTH, console.width)
    out.write(f"\n{verdict}; {cost_line(reply)}\n{rule}\n\n", "dim")


def _compare(engine: SplitEngine, tasks: list[Task], seed: int) -> list[Result]:
    priced = options.priced(engine, EXAMPLE_PRICES)
    return measure(lambda progress: compare([*_NAMES], priced, tasks, seed=seed, progress=progress))


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for result in results:
        low, high = result.interval
        table.add_row(
            _NAMES[result.mode],
            f"{result.accuracy:.0%}",
            f"{low:.0%} to {high:.0%}",
            f"{result.tokens['large']:,}",
            f"{result.offload_share:.1%}",
            f"{result.measured[Metric.USD].value:.3f}",
        )
    return table


def _summaries(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Return the numbers of the closing sentence, for each mode."""
    (large,) = (result for result in results if result.mode == "large")
    large_usd = large.measured[Metric.USD].value
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        usd = result.measured[Metric.USD].value
        found[result.mode] = {
            "right": round(result.accuracy * result.tasks),
            "large_tokens": result.tokens["large"],
            "large_tokens_saved": 1 - result.tokens["large"] / large.tokens["large"],
            "usd_per_1k": usd,
            "usd_saved": 1 - usd / large_usd,
            "prices": {
                "input_usd": EXAMPLE_PRICES.input_usd,
                "output_usd": EXAMPLE_PRICES.output_usd,
            },
        }
    return found


def _sentence(summaries: Mapping[str, Mapping[str, Any]], problems: int) -> str:
    small, large, split = (summaries[mode] for mode in ("small", "large", "split"))
    return (
        f"Both models together answered {split['right']} of {problems} problems correctly, the "
        f"large model alone {large['right']}, the small one alone {small['right']}. The large "
        f"model wrote {split['large_tokens']:,} tokens instead of {large['large_tokens']:,} "
        f"({split['large_tokens_saved']:.0%} fewer). At example prices of "
        f"{EXAMPLE_PRICES.input_usd:g} USD per million tokens that the large model reads and "
        f"{EXAMPLE_PRICES.output_usd:g} USD per million that it writes, 1,000 answers cost "
        f"{split['usd_per_1k']:.2f} USD instead of {large['usd_per_1k']:.2f} USD "
        f"({split['usd_saved']:.0%} less); the small model runs on your own machine and is not "
        "counted."
    )

"""`splitreason bench annotate`: placement of snippets in many long traces."""

import json
from typing import Annotated

import typer

from splitreason_integrations import blocking
from splitreason_integrations.annotation.bench import bench
from splitreason_integrations.cli import annotate_options, options
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.evals import report
from splitreason_integrations.humans.screen import Screen, echo


def annotate_command(
    traces: Annotated[int, typer.Option(min=10, help="Number of traces.")] = 18_500,
    tokens: Annotated[int, typer.Option(min=1, help="Approximate tokens per trace.")] = 2_000,
    workers: annotate_options.Workers = None,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure how many snippets are placed at their origin, and how long placement takes."""
    with annotate_options.progress(traces) as on_progress:
        result = blocking.run(
            lambda: bench(
                traces=traces,
                tokens=tokens,
                workers=workers or annotate_options.cores(),
                seed=seed,
                on_progress=on_progress,
            )
        )
    result |= report.context(options.command_line())
    if as_json:
        echo(json.dumps(result))
        return
    peak = result["peak_mb"]
    print_lines(
        Screen(highlight=False),
        f"{result['ratio']:.3%} of exactly quoted snippets were placed at their origin; "
        f"{result['snippets']} snippets of all kinds in {result['seconds']:.2g} s "
        f"({result['n']} traces of {result['tokens']} tokens, {_workers(result['workers'])}, "
        f"{result['hardware']}); peak {peak['at_the_end']:.0f} MB, {peak['at_a_tenth']:.0f} MB at "
        "a tenth of the traces",
    )


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"

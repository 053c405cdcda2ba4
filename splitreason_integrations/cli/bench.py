"""`splitreason bench`: ratios measured in one run."""

import json
from typing import Annotated

import typer

from splitreason_integrations.checks import check_extra
from splitreason_integrations.cli import options
from splitreason_integrations.cli.bench_annotate import annotate_command
from splitreason_integrations.cli.bench_disagreement import disagreement_command
from splitreason_integrations.cli.bench_figures import figures_command
from splitreason_integrations.cli.bench_gpu import gpu_command
from splitreason_integrations.cli.bench_servers import servers_command
from splitreason_integrations.cli.bench_untaught import untaught_command
from splitreason_integrations.cli.display import progress_bar
from splitreason_integrations.cli.printed_tables import print_markdown
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.humans.screen import Screen, echo

app = typer.Typer(
    help="Benchmarks; each prints a ratio measured in one run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


app.command("annotate")(annotate_command)
app.command("disagreement")(disagreement_command)
app.command("figures")(figures_command)
app.command("gpu")(gpu_command)
app.command("servers")(servers_command)
app.command("untaught")(untaught_command)


@app.callback()
def bench() -> None:
    """Benchmarks; each prints a ratio measured in one run."""


@app.command()
def overhead(
    samples: Annotated[int, typer.Option(min=1, help="Number of problems.")] = 60,
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    small: options.Small = None,
    large: options.Large = None,
    trigger: options.TriggerText = "tag",
    close: options.OwnClose = None,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Time of a split generation ÷ time of its forward passes alone."""
    check_extra("local", "torch", what="bench overhead")
    import torch

    from splitreason_integrations.evals import bench as benches
    from splitreason_integrations.evals import report

    engine = options.engine(small, large, trigger, close=close)
    torch.set_num_threads(threads)
    with progress_bar() as bar:
        task = bar.add_task("overhead", total=samples)
        result = benches.overhead(
            engine,
            samples=samples,
            seed=seed,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    command = f"splitreason bench overhead --samples {samples} --threads {threads} --seed {seed}"
    result |= report.context(command)
    if as_json:
        echo(json.dumps(result))
        return
    low, high = result["interval"]
    print_lines(
        Screen(highlight=False),
        f"split generation takes {result['ratio']:.3f} times as long as its forward passes alone "
        f"(95 % interval {low:.3f} to {high:.3f}, {result['n']} problems, {result['hardware']})",
    )


@app.command()
def pair(
    samples: Annotated[
        int, typer.Option(min=1, help="Problems per mode; a quarter of them for other rows.")
    ] = 1000,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure all modes of the bundled pair on both test splits, and several thresholds."""
    from splitreason_integrations.evals.figures.pair import whole
    from splitreason_integrations.evals.pair import measure_pair

    with progress_bar() as bar:
        task = bar.add_task("pair")
        found = measure_pair(
            samples=samples,
            seed=seed,
            command=f"splitreason bench pair --samples {samples} --seed {seed}",
            on_progress=lambda done, of: bar.update(task, completed=done, total=of),
        ).data()
    if as_json:
        echo(json.dumps(found))
    else:
        print_markdown(Screen(highlight=False), whole(found))

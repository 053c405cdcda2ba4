"""`splitreason bench untaught`: the bundled pair without any learned tags."""

import json
from typing import Annotated

import typer

from splitreason_integrations.checks import check_extra
from splitreason_integrations.cli import options
from splitreason_integrations.cli.display import progress_by_name
from splitreason_integrations.cli.printed_tables import print_markdown
from splitreason_integrations.humans.screen import Screen, echo


def untaught_command(
    samples: Annotated[
        int, typer.Option(min=4, help="Problems of the main rows; a quarter of them for others.")
    ] = 1000,
    timed: Annotated[
        int,
        typer.Option(min=1, help="Problems of the rows timed beside speculative decoding."),
    ] = 40,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure triggers and close rules that need no training, on an untaught small model.

    Speculative decoding with the same models stands below, on vLLM too where there is one.
    """
    check_extra("local", "torch", what="bench untaught")
    from splitreason_integrations.evals.figures.untaught import whole
    from splitreason_integrations.evals.untaught import measure_untaught

    with progress_by_name() as on_progress:
        found = measure_untaught(
            samples=samples,
            timed=timed,
            seed=seed,
            command=(
                f"splitreason bench untaught --samples {samples} --timed {timed} --seed {seed}"
            ),
            on_progress=on_progress,
        )
    if as_json:
        echo(json.dumps(found))
    else:
        print_markdown(Screen(highlight=False), whole(found))

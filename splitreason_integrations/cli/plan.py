"""`splitreason plan`: replicas of both models that a load needs, and their cost."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from splitreason_integrations.cli import options, plan_options, plan_tables
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.errors import RequestError, SettingError
from splitreason_integrations.evals import report
from splitreason_integrations.humans.screen import echo
from splitreason_integrations.planning import figures as figure_files
from splitreason_integrations.planning.capacity import Target
from splitreason_integrations.planning.capacity import plan as planned
from splitreason_integrations.planning.figures import Figures
from splitreason_integrations.planning.measuring import PARTS, Measured
from splitreason_integrations.planning.measuring import measure as measure_figures
from splitreason_integrations.planning.timing import Effort
from splitreason_integrations.settings import from_data as building

_CONCURRENCY = 4


@plan_options.with_figures
def plan(
    figures: Annotated[
        Path | None,
        typer.Argument(help="Measured figures, .toml or .json; options override them."),
    ] = None,
    load: Annotated[
        float | None, typer.Option(help="Answers per second to plan for.", show_default=False)
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(help="Or: the number of GPUs to plan for.", show_default=False)
    ] = None,
    utilisation: Annotated[
        float, typer.Option(help="Highest utilisation of a replica, below 1.")
    ] = 0.7,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Concurrent answers per replica at which tokens/s were measured; "
            f"{_CONCURRENCY} by default with --measure.",
            show_default=False,
        ),
    ] = None,
    measured: Annotated[
        bool,
        typer.Option("--measure", help="Measure --small and --large; check the prediction."),
    ] = False,
    small: options.Small = None,
    large: options.Large = None,
    api_key_env: options.ApiKeyEnv = None,
    trigger: options.OwnTrigger = None,
    close: options.OwnClose = None,
    policy: options.PolicyName = None,
    data: options.Prompts = None,
    samples: Annotated[int, typer.Option(min=1, help="Problems per measured figure.")] = 40,
    max_tokens: options.MaxTokens = 512,
    seed: options.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="File for the figures, TOML.")] = None,
    as_json: options.AsJson = False,
    **given: Any,
) -> None:
    """Plan replicas, latency and cost of a pair, compared with the large model alone.

    The figures come from a file, from options, or with --measure from both models. With --measure
    the split also runs at --concurrency concurrent answers, and the prediction is printed next to
    the measurement. Without --load and --gpus the plan is for one replica of each model.

    Work per answer ÷ measured speed gives the answers per second of a replica. Each model gets the
    fewest replicas whose utilisation is at most --utilisation. The latency of an answer is its
    unloaded time at each model ÷ (1 - the fraction of time in which other answers slow it down);
    this is a mean for independent arrivals without bursts. With --shared both models use one
    device, and their times add up. USD include tokens and replicas, idle time too; give each model
    only the price that you pay.
    """
    target = Target(load_per_s=load, gpus=gpus, utilisation=utilisation)
    options.check_folder(out)
    found = None
    if measured:
        if figures is not None:
            raise RequestError("give either a file of figures or --measure")
        described = options.engine(small, large, trigger, policy=policy, close=close)
        engine = options.keyed(described, api_key_env)
        effort = Effort(samples, concurrency or _CONCURRENCY, seed=seed, max_tokens=max_tokens)
        tasks = options.prompts(data, samples=PARTS * samples, seed=seed, needs_answer=False)
        random.Random(seed).shuffle(tasks)
        found = measure(
            lambda progress: measure_figures(
                engine, tasks, effort, shared=given["shared"], progress=progress
            )
        )
    complete = _complete(_start(figures, found), given, None if measured else concurrency)
    context = report.context(options.command_line())
    if out is not None:
        remarks = [str(context[name]) for name in ("command", "date", "hardware")]
        out.write_text(figure_files.to_toml(complete, remarks=remarks), "utf-8")
        echo(f"wrote {out}", err=True)
    _show(complete, target, found, context if as_json else None)


def _start(path: Path | None, found: Measured | None) -> dict[str, Any]:
    """Return the figures as plain data, before options override them."""
    if found is not None:
        return building.plain(found.figures)  # type: ignore[no-any-return]
    if path is None:
        return {"small": {}, "large": {}, "answer": {}}
    return building.plain(figure_files.load(path))  # type: ignore[no-any-return]


def _complete(
    start: Mapping[str, Any], given: Mapping[str, Any], concurrency: int | None
) -> Figures:
    """Return the figures with the options applied.

    Raises:
        SettingError: A figure is missing; the message names its option.

    """
    data = plan_options.placed(given, over=start)
    if not any(data.values()):
        raise RequestError(
            "no figures to plan with: give a file, options such as --small-tokens-per-s, or "
            "--measure"
        )
    for side in ("small", "large") if concurrency else ():
        data[side]["concurrency"] = concurrency
    try:
        return figure_files.from_data(data)
    except SettingError as error:
        option = plan_options.named(error.path)
        place = option or ".".join(map(str, error.path[:-1]))
        raise SettingError(f"{place}: {error}" if place else str(error), error.path) from error


def _show(
    complete: Figures,
    target: Target,
    found: Measured | None,
    context: Mapping[str, object] | None,
) -> None:
    result = planned(complete, target)
    if context is None:
        plan_tables.show(result, found.check if found else None)
        return
    check = found.check.data() if found else None
    data = {**result.data(), "figures": building.plain(complete), "check": check, **context}
    echo(json.dumps(data))

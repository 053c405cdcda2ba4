"""`splitreason plan`: how many replicas of both models a load needs, and what that costs."""

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
        typer.Argument(help="Measured figures, .toml or .json; options go before them."),
    ] = None,
    load: Annotated[
        float | None, typer.Option(help="Answers a second to plan for.", show_default=False)
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(help="Or the GPUs there are.", show_default=False)
    ] = None,
    utilisation: Annotated[
        float, typer.Option(help="Part of the time for which replicas may be busy, below 1.")
    ] = 0.7,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Answers at once in a replica when its tokens a second were, or are, measured; "
            f"--measure has {_CONCURRENCY} without.",
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
    policy: options.PolicyName = None,
    data: options.Prompts = None,
    samples: Annotated[int, typer.Option(min=1, help="Problems for each measured figure.")] = 40,
    max_tokens: options.MaxTokens = 512,
    seed: options.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="File for the figures, TOML.")] = None,
    as_json: options.AsJson = False,
    **given: Any,
) -> None:
    """Plan replicas, latency and cost of a pair, beside the large model alone.

    The figures come from a file, from options, or with --measure from both models; then the split
    is run at --concurrency answers at once, and what was predicted is shown beside what it did.
    Without --load and --gpus the plan is for one replica of each.

    A replica finishes 1 answer in its work ÷ its measured speed. The replicas of a model are the
    fewest that are busy for --utilisation of the time at most. An answer takes its idle time at
    each model ÷ (1 - the part of the time in which others slow it): a mean, for answers that come
    independently, without bursts. On a --shared device the models take turns: their times add up.
    USD are those of tokens and of replicas, idle time included; give for each model the price
    that you pay.
    """
    target = Target(load_per_s=load, gpus=gpus, utilisation=utilisation)
    options.check_folder(out)
    found = None
    if measured:
        if figures is not None:
            raise RequestError("give either a file of figures or --measure")
        described = options.engine(small, large, trigger, policy=policy)
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
        typer.echo(f"wrote {out}", err=True)
    _tell(complete, target, found, context if as_json else None)


def _start(path: Path | None, found: Measured | None) -> dict[str, Any]:
    """Return the plain figures that options go before."""
    if found is not None:
        return building.plain(found.figures)  # type: ignore[no-any-return]
    if path is None:
        return {"small": {}, "large": {}, "answer": {}}
    return building.plain(figure_files.load(path))  # type: ignore[no-any-return]


def _complete(
    start: Mapping[str, Any], given: Mapping[str, Any], concurrency: int | None
) -> Figures:
    """Return the figures; raise SettingError, which names the option, for what is missing."""
    data = plan_options.placed(given, over=start)
    if not any(data.values()):
        raise RequestError(
            "no figures to plan with: name a file of them, give options such as "
            "--small-tokens-per-s, or measure with --measure"
        )
    for side in ("small", "large") if concurrency else ():
        data[side]["concurrency"] = concurrency
    try:
        return figure_files.from_data(data)
    except SettingError as error:
        option = plan_options.named(error.path)
        place = option or ".".join(map(str, error.path[:-1]))
        raise SettingError(f"{place}: {error}" if place else str(error), error.path) from error


def _tell(
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
    typer.echo(json.dumps(data))

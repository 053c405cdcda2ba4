"""`splitreason calibrate`: find the threshold for your own prompts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from splitreason_integrations.cli import options
from splitreason_integrations.cli.chart import Mark, chart
from splitreason_integrations.cli.display import LARGE_STYLE
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.cli.printed_tables import NO_PRICES, known, print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import report
from splitreason_integrations.evals.budget import budget_for
from splitreason_integrations.evals.calibrate import RUNS, Calibration
from splitreason_integrations.evals.calibrate import calibrate as find_threshold
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import RESAMPLES, Metric
from splitreason_integrations.evals.plot import check_plot, save_plot
from splitreason_integrations.evals.scalars import CLOSES, TRIGGERS, Scalar
from splitreason_integrations.evals.threshold_search import Row, UnmetGoalError
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.settings.policy_files import to_toml


def calibrate(
    data: options.Prompts = None,
    trigger: Annotated[
        str,
        typer.Option(
            help=f"What to calibrate: {', '.join(TRIGGERS)}; a full trigger such as entropy>1.5 "
            "stays, and --close is calibrated."
        ),
    ] = "tag",
    close: Annotated[
        str | None,
        typer.Option(
            help=f"Close rule; with a full --trigger what to calibrate of it: {', '.join(CLOSES)}.",
            show_default=False,
        ),
    ] = None,
    max_share: Annotated[
        float | None, typer.Option(help="Keep the offload share at or below this, 0 to 1.")
    ] = None,
    max_usd_per_1k: Annotated[
        float | None, typer.Option(help="Keep the cost of 1,000 requests at or below this.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Keep the accuracy at or above this; needs answers.")
    ] = None,
    point: Annotated[
        bool, typer.Option("--point", help="Compare point estimates instead of interval ends.")
    ] = False,
    samples: Annotated[int, typer.Option(min=2, help="Most prompts to use.")] = 200,
    runs: Annotated[int, typer.Option(min=1, help="Most thresholds to measure.")] = RUNS,
    resamples: Annotated[
        int, typer.Option(min=1000, help="Bootstrap resamples of the prompts.")
    ] = RESAMPLES,
    request_cap: Annotated[
        float | None, typer.Option(help="Also cap each request at this offload share.")
    ] = None,
    large_input_usd: options.InputUsd = 0.0,
    large_output_usd: options.OutputUsd = 0.0,
    max_usd: options.MaxUsd = None,
    round_trip_ms: options.RoundTripMs = 0.0,
    large_tokens_per_s: options.TokensPerS = None,
    out: Annotated[Path | None, typer.Option(help="Policy file to write, TOML.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot to write, PNG, SVG or PDF; needs the extra plot.")
    ] = None,
    small: options.Small = None,
    large: options.Large = None,
    max_tokens: options.MaxTokens = 512,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Find the threshold of a trigger or close rule that meets a bound on share, cost or accuracy.

    For a cap, this chooses the measured threshold that offloads most while the upper end of its 95
    % interval is within the cap; for a minimum accuracy, the one that offloads least while the
    lower end is at or above it.
    """
    goal = _goal(max_share, max_usd_per_1k, min_accuracy, by_point=point)
    scalar = _scalar(trigger, close)
    prices = Prices(large_input_usd, large_output_usd)
    if goal.metric is Metric.USD and prices == Prices():
        raise RequestError("--max-usd-per-1k needs --large-input-usd or --large-output-usd")
    for path in (out, plot):
        options.check_folder(path)
    if plot is not None:
        check_plot(plot)
    network = options.network(round_trip_ms, large_tokens_per_s)
    tasks = options.prompts(data, samples=samples, seed=seed, needs_answer=not goal.is_cap)
    kept = (
        {"trigger": None, "close": close} if scalar.opens else {"trigger": trigger, "close": None}
    )
    described = options.engine(small, large, kept["trigger"], request_cap, close=kept["close"])
    engine = options.keyed(options.priced(described, prices), api_key_env)
    budget = budget_for(engine, max_usd)
    context = report.context(options.command_line())
    try:
        found = measure(
            lambda progress: find_threshold(
                engine,
                tasks,
                goal,
                scalar=scalar,
                runs=runs,
                seed=seed,
                resamples=resamples,
                max_tokens=max_tokens,
                network=network,
                budget=budget,
                progress=progress,
            )
        )
    except UnmetGoalError as error:
        if as_json:
            curve = [row.data() for row in error.rows]
            echo(json.dumps({"threshold": None, "curve": curve, **context}))
        else:
            _show_curve(error.rows, goal, None)
        raise
    _write(found, context, out=out, plot=plot, request_cap=request_cap)
    if as_json:
        echo(json.dumps({**found.data(), **context}))
    else:
        _show(found)


def _scalar(trigger: str, close: str | None) -> Scalar:
    """Return what is calibrated: a trigger that is named without a threshold, or a close rule.

    Raises:
        RequestError: Neither can be calibrated.

    """
    if trigger in TRIGGERS:
        return TRIGGERS[trigger]
    parse_trigger(trigger)
    if close in CLOSES:
        return CLOSES[close]
    raise RequestError(
        f"there is no threshold to calibrate: give --trigger {', '.join(TRIGGERS)}, or beside a "
        f"full trigger such as {trigger} a close rule without a threshold: --close "
        f"{', '.join(CLOSES)}"
    )


def _goal(
    max_share: float | None,
    max_usd_per_1k: float | None,
    min_accuracy: float | None,
    *,
    by_point: bool,
) -> Goal:
    asked = {
        Metric.SHARE: max_share,
        Metric.USD: max_usd_per_1k,
        Metric.ACCURACY: min_accuracy,
    }
    given = [(metric, bound) for metric, bound in asked.items() if bound is not None]
    if len(given) != 1:
        raise RequestError("give one of --max-share, --max-usd-per-1k and --min-accuracy")
    metric, bound = given[0]
    return Goal(metric, bound, by_point=by_point)


def _write(
    found: Calibration,
    context: Mapping[str, object],
    *,
    out: Path | None,
    plot: Path | None,
    request_cap: float | None,
) -> None:
    if out is not None:
        policy = Policy(
            trigger=str(found.trigger), close=found.close, max_offload_share=request_cap
        )
        out.write_text(to_toml(policy, remarks=_remarks(found, context)), "utf-8")
        echo(f"wrote {out}", err=True)
    if plot is not None:
        save_plot(found, plot, remark=f"{context['hardware']}, {context['date']}")
        echo(f"wrote {plot}", err=True)


def _remarks(found: Calibration, context: Mapping[str, object]) -> list[str]:
    share = found.chosen.figures[Metric.SHARE]
    low, high = found.threshold_interval
    return [
        f"{context['command']}",
        f"{context['date']}, {found.n} prompts, {context['hardware']}",
        f"{found.chosen.rule} meets {found.goal}",
        *([str(found.signal)] if found.signal else []),
        f"offload share {share.value:.2%}, 95 % interval {share.low:.2%} to {share.high:.2%}",
        f"threshold at which the bound is met exactly: {low:g} to {high:g} (95 % interval)",
    ]


def _show(found: Calibration) -> None:
    console = _show_curve(found.rows, found.goal, found.chosen)
    low, high = found.threshold_interval
    print_lines(console, f"{found.chosen.rule} meets {found.goal}", "bold")
    print_lines(
        console,
        f"{found.n} prompts; the bound is met exactly at a threshold of {low:g} to {high:g} "
        "(95 % interval)",
    )
    for line in (found.signal, found.untaught):
        if line is not None:
            print_lines(console, str(line))


def _show_curve(rows: Sequence[Row], goal: Goal, chosen: Row | None) -> Console:
    """Print the measurements as a table and a chart; return the console."""
    console = Screen(highlight=False)
    marks = [
        Mark(row.threshold, figure.value, figure.low, figure.high, chosen=row is chosen)
        for row in rows
        for figure in [row.figures[goal.metric]]
    ]
    print_table(console, _table(rows, chosen))
    if not any(row.figures[Metric.USD].value for row in rows):
        print_lines(console, f"\n{NO_PRICES}")
    console.print()
    title = str(goal.metric).replace("_", " ")
    scale = rows[0].scalar.scale
    console.print(
        chart(
            marks,
            bound=goal.bound,
            title=title,
            formatted=goal.formatted,
            scale=scale,
            width=console.width,
        ),
        soft_wrap=True,
    )
    return console


def _table(rows: Sequence[Row], chosen: Row | None) -> Table:
    graded = Metric.ACCURACY in rows[0].figures
    headings = ["threshold", *(["accuracy"] if graded else []), "share", "95 % interval"]
    headings += ["USD per 1k", "p50 s", "p95 s"]
    table = Table(box=None, header_style="bold")
    for heading in ("chosen", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    costs = known([row.figures[Metric.USD].value for row in rows], ".4g")
    for row, usd in zip(rows, costs, strict=True):
        here = row is chosen
        table.add_row("→" if here else "", *_cells(row, usd), style=LARGE_STYLE if here else None)
    return table


def _cells(row: Row, usd: str) -> list[str]:
    figures = row.figures
    share = figures[Metric.SHARE]
    accuracy = [f"{figures[one].value:.1%}" for one in (Metric.ACCURACY,) if one in figures]
    return [
        f"{row.threshold:g}",
        *accuracy,
        f"{share.value:.1%}",
        f"{share.low:.1%} to {share.high:.1%}",
        usd,
        f"{figures[Metric.LATENCY_P50].value:.2f}",
        f"{figures[Metric.LATENCY_P95].value:.2f}",
    ]

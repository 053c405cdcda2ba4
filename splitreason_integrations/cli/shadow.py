"""`splitreason shadow`: estimate the cost of offloading from the small model alone."""

import json
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from splitreason_integrations.cli import options
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import report
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.runner import Progress
from splitreason_integrations.evals.shadow import Estimate, Plan, ShadowReport, mean_span_tokens
from splitreason_integrations.evals.shadow import shadow as estimate

TRIGGERS = ("tag>0.99", "tag>0.9", "tag>0.5", "tag>0.1")
_SPAN_TOKENS = 32.0


def shadow(
    data: options.Prompts = None,
    trigger: Annotated[
        list[str] | None,
        typer.Option(help=f"Trigger to estimate, repeatable; by default {', '.join(TRIGGERS)}."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Most prompts to use.")] = 200,
    span_tokens: Annotated[
        float | None,
        typer.Option(help=f"Tokens of an average span; {_SPAN_TOKENS:g} by default.", min=1),
    ] = None,
    sample_spans: Annotated[
        int | None,
        typer.Option(
            min=1, help="Prompts on which both models run to measure the tokens of a span."
        ),
    ] = None,
    large_input_usd: options.InputUsd = 0.0,
    large_output_usd: options.OutputUsd = 0.0,
    round_trip_ms: options.RoundTripMs = 0.0,
    large_tokens_per_s: options.TokensPerS = None,
    small: options.Small = None,
    large: options.Large = None,
    max_tokens: options.MaxTokens = 512,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Run the small model alone and count where it would have handed off.

    All triggers are estimated from one run. The large model is loaded only for --sample-spans.
    """
    if span_tokens is not None and sample_spans is not None:
        raise RequestError("give one of --span-tokens and --sample-spans")
    triggers = [parse_trigger(text) for text in trigger or TRIGGERS]
    prices = Prices(large_input_usd, large_output_usd)
    network = options.network(round_trip_ms, large_tokens_per_s)
    if large is None and sample_spans is None:
        large = small  # it is loaded for --sample-spans alone
    engine = options.engine(small, large, "tag")
    tasks = options.prompts(data, samples=samples, seed=seed, needs_answer=False)

    def run(progress: Progress) -> ShadowReport:
        measured = span_tokens or _SPAN_TOKENS
        if sample_spans is not None:
            measured = mean_span_tokens(
                engine,
                tasks[:sample_spans],
                triggers,
                seed=seed,
                max_tokens=max_tokens,
                progress=progress,
            )
        return estimate(
            engine,
            tasks,
            triggers,
            Plan(span_tokens=measured, prices=prices, network=network),
            seed=seed,
            max_tokens=max_tokens,
            progress=progress,
        )

    found = measure(run)
    if as_json:
        typer.echo(json.dumps({**found.data(), **report.context(options.command_line())}))
    else:
        _show(found, span_measured=sample_spans is not None)


def _show(found: ShadowReport, *, span_measured: bool) -> None:
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold")
    headings = ("handoffs", "large tokens", "share", "95 % interval", "USD per 1k", "added s")
    for heading in ("trigger", *headings):
        justify: Literal["left", "right"] = "left" if heading == "trigger" else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for one in found.estimates:
        table.add_row(str(one.trigger), *_cells(one))
    console.print(table)
    console.print(
        f"\nestimated from {found.n} prompts; {found.small_tokens:.0f} small tokens and "
        f"{found.small_s:.2f} s per request; {found.span_tokens:.1f} tokens per span"
        f"{'' if span_measured else ' (assumed; --sample-spans measures it)'}; handoffs, "
        "tokens and added seconds are means per request",
        soft_wrap=True,
    )


def _cells(one: Estimate) -> list[str]:
    share = one.figures[Metric.SHARE]
    return [
        f"{one.figures[Metric.HANDOFFS].value:.2f}",
        f"{one.large_tokens:.0f}",
        f"{share.value:.1%}",
        f"{share.low:.1%} to {share.high:.1%}",
        f"{one.figures[Metric.USD].value:.4g}",
        f"{one.added_s:.2f}",
    ]

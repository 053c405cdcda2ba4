"""`splitreason shadow`: estimate the cost of offloading from the small model alone."""

import json
from typing import Annotated, Literal

import typer
from rich.table import Table

from splitreason_integrations.cli import options
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.cli.printed_tables import NO_PRICES, UNKNOWN, known, print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import report
from splitreason_integrations.evals.budget import budget_for
from splitreason_integrations.evals.estimates import Estimate, Plan, ShadowReport
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.shadow import TAUGHT_TRIGGERS, UNTAUGHT_TRIGGERS
from splitreason_integrations.evals.shadow import shadow as estimate
from splitreason_integrations.humans.screen import Screen, echo

_NO_SPEED = (
    f"{UNKNOWN} under added s is a time without a speed: give --large-tokens-per-s and "
    "--round-trip-ms"
)
_TAUGHT, _UNTAUGHT = (", ".join(map(str, some)) for some in (TAUGHT_TRIGGERS, UNTAUGHT_TRIGGERS))


def shadow(
    data: options.Prompts = None,
    trigger: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Trigger to estimate, repeatable; by default {_TAUGHT}, or {_UNTAUGHT} for a "
            "small model that was never taught to mark spans."
        ),
    ] = None,
    close: options.OwnClose = None,
    samples: Annotated[int, typer.Option(min=1, help="Most prompts to use.")] = 200,
    span_tokens: Annotated[
        float | None,
        typer.Option(help="Tokens of every span; by default as many as it replaces.", min=1),
    ] = None,
    sample_spans: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Prompts on which both models run for each trigger, to correct its estimate.",
        ),
    ] = None,
    policy: options.PolicyName = None,
    max_share: options.MaxShare = None,
    large_input_usd: options.InputUsd = 0.0,
    large_output_usd: options.OutputUsd = 0.0,
    max_usd: options.MaxUsd = None,
    round_trip_ms: options.RoundTripMs = 0.0,
    large_tokens_per_s: options.TokensPerS = None,
    small: options.Small = None,
    large: options.Large = None,
    max_tokens: options.MaxTokens = 512,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the small model alone and replay its replies as if it had handed off.

    All triggers are estimated from one run, with gaps, caps and close rule as the engine would
    apply them. The large model is loaded only where a rule needs it to read, and for
    --sample-spans.
    """
    if span_tokens is not None and sample_spans is not None:
        raise RequestError("give one of --span-tokens and --sample-spans")
    triggers = [parse_trigger(text) for text in trigger or ()]
    plan = Plan(
        span_tokens=span_tokens,
        pilot=sample_spans or 0,
        prices=Prices(large_input_usd, large_output_usd),
        network=options.network(round_trip_ms, large_tokens_per_s),
        reads_along=large is not None or small is None or sample_spans is not None,
    )
    if not plan.reads_along:
        large = small  # no large model is loaded
    engine = options.engine(small, large, None, max_share, policy, close=close)
    engine = options.keyed(options.priced(engine, plan.prices), api_key_env)
    budget = budget_for(engine, max_usd)
    tasks = options.prompts(data, samples=samples, seed=seed, needs_answer=False)
    found = measure(
        lambda progress: estimate(
            engine,
            tasks,
            triggers,
            plan,
            seed=seed,
            max_tokens=max_tokens,
            budget=budget,
            progress=progress,
        )
    )
    if as_json:
        echo(json.dumps({**found.data(), **report.context(options.command_line())}))
    else:
        _show(found)


def _show(found: ShadowReport) -> None:
    console = Screen(highlight=False)
    table = Table(box=None, header_style="bold")
    headings = ("handoffs", "large tokens", "share", "95 % interval", "USD per 1k", "added s")
    for heading in ("trigger", *headings):
        justify: Literal["left", "right"] = "left" if heading == "trigger" else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    costs = known([one.figures[Metric.USD].value for one in found.estimates], ".4g")
    added = known([one.added_s for one in found.estimates], ".2f")
    for one, *last in zip(found.estimates, costs, added, strict=True):
        table.add_row(str(one.trigger), *_cells(one), *last)
    print_table(console, table)
    console.print()
    if UNKNOWN in costs:
        print_lines(console, NO_PRICES)
    if UNKNOWN in added:
        print_lines(console, _NO_SPEED)
    closes = " or ".join(dict.fromkeys(str(one.close) for one in found.estimates))
    print_lines(
        console,
        f"estimated from {found.n} prompts; {found.small_tokens:.0f} small tokens and "
        f"{found.small_s:.2f} s per request; spans end by {closes}; {_basis(found)}; handoffs, "
        "tokens and added seconds are means per request",
    )
    if found.untaught:
        print_lines(console, found.untaught)


def _basis(found: ShadowReport) -> str:
    """Return in words what the estimates rest on."""
    if found.pilot:
        return f"corrected by {found.pilot} prompts on which both models ran"
    if found.span_tokens is not None:
        return f"{found.span_tokens:.1f} tokens per span (assumed; --sample-spans corrects it)"
    return (
        "spans replace what the small model wrote, and what really follows one is another text: "
        "--sample-spans 8 corrects that"
    )


def _cells(one: Estimate) -> list[str]:
    share = one.figures[Metric.SHARE]
    return [
        f"{one.figures[Metric.HANDOFFS].value:.2f}",
        f"{one.large_tokens:.0f}",
        f"{share.value:.1%}",
        f"{share.low:.1%} to {share.high:.1%}",
    ]

"""Print a plan as tables: the split and the large model alone, prediction and measurement."""

from typing import Literal

from rich.table import Table

from splitreason_integrations.cli.printed_tables import UNKNOWN, print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.humans.screen import Screen
from splitreason_integrations.planning.capacity import Deployment, Plan
from splitreason_integrations.planning.measuring import Check, error_of

_NO_PRICES = (
    "– is a cost that no price was given for: --large-usd-per-gpu-hour, or --large-input-usd and "
    "--large-output-usd"
)
_NAMES = {
    "answers_per_s": "answers/s",
    "latency_s": "latency, s",
    "offload_share": "offload share",
}


def show(plan: Plan, check: Check | None) -> None:
    """Print a plan, and the check of its prediction if there is one."""
    console = Screen(highlight=False)
    print_table(console, _plan(plan))
    first = (
        "both models share a device, so their times add up"
        if plan.figures.shared
        else f"the {plan.split.bottleneck.name} model is the bottleneck"
    )
    console.print()
    print_lines(
        console, f"utilisation of replicas is at most {plan.target.utilisation:.0%}; {first}"
    )
    if plan.split.usd_per_1k is None or plan.large_alone.usd_per_1k is None:
        print_lines(console, _NO_PRICES)
    if check is not None:
        console.print()
        print_table(console, _check(check))


def _plan(plan: Plan) -> Table:
    table = _table("", "split", "large alone")
    both = plan.split, plan.large_alone
    table.add_row("answers/s", *(f"{one.load_per_s:.3g}" for one in both))
    table.add_row("latency, s", *(f"{one.latency_s:.3g}" for one in both))
    table.add_row("… without load", *(f"{one.way.idle_s:.3g}" for one in both))
    for name in dict.fromkeys(station.name for one in both for station in one.way.stations):
        replicas = [_replicas(one, name) for one in both]
        table.add_row(f"replicas of {name}", *(text for text, _ in replicas))
        table.add_row("… answers/s each, utilisation", *(text for _, text in replicas))
    table.add_row("GPUs", *(str(one.gpus) for one in both))
    table.add_row("USD per 1k, tokens", *(_usd(one.tokens_usd_per_1k) for one in both))
    table.add_row("USD per 1k, replicas", *(_usd(one.gpu_usd_per_1k) for one in both))
    table.add_row("USD per 1k", *(_usd(one.usd_per_1k) for one in both), style="bold")
    return table


def _usd(amount: float | None) -> str:
    return UNKNOWN if amount is None else f"{amount:.4g}"


def _replicas(deployment: Deployment, name: str) -> tuple[str, str]:
    """Return the number of replicas of a station, and their capacity and utilisation."""
    rows = zip(deployment.way.stations, deployment.replicas, deployment.utilisations, strict=True)
    for station, replicas, busy in rows:
        if station.name == name:
            return str(replicas), f"{1 / station.busy_s:.3g}, {busy:.0%}"
    return "", ""


def _check(check: Check) -> Table:
    table = _table(f"{check.at_once} concurrent", "predicted", "measured", "error")
    for name, (predicted, measured) in check.rows().items():
        error = error_of(predicted, measured)
        table.add_row(
            _NAMES[name],
            f"{predicted:.3g}",
            f"{measured:.3g}",
            "" if error is None else f"{error:+.1%}",
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold")
    for at, heading in enumerate(headings):
        justify: Literal["left", "right"] = "right" if at else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    return table

"""Results as tables: for a terminal, and in Markdown for what is published."""

from collections.abc import Sequence

from rich.table import Table

from splitreason_integrations.evals.runner import Result

_HEADINGS = ("", "accuracy", "95 % interval", "large share", "tokens/s", "seconds")
_MEANINGS = {
    "base": "base: small model before it learned the tags",
    "small": "small alone, tags forbidden",
    "large": "large alone",
    "split": "**split**",
    "random": "random spans at about that share",
    "entropy": "spans where entropy is high, about that share",
}


def for_terminal(results: Sequence[Result]) -> Table:
    """Return a table of modes and their figures."""
    table = Table(box=None, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for result in results:
        table.add_row(result.mode, *_figures(result), f"{result.seconds:.1f}")
    return table


def in_markdown(results: Sequence[Result], *, by_trigger: bool = False) -> str:
    """Return a Markdown table, its rows named by what wrote or by trigger."""
    lines = [f"| {' | '.join(_HEADINGS[:-1])} |", "|---|" + "---|" * (len(_HEADINGS) - 2)]
    for result in results:
        name = f"`{result.trigger}`" if by_trigger else _MEANINGS[result.mode]
        lines.append(f"| {' | '.join((name, *_figures(result)))} |")
    return "\n".join(lines)


def _figures(result: Result) -> tuple[str, str, str, str]:
    low, high = result.interval
    return (
        f"{result.accuracy:.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{result.offload_share:.1%}",
        f"{sum(result.tokens.values()) / result.seconds:.0f}",
    )

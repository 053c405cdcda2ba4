"""Format results as tables, for a terminal and in Markdown."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from splitreason_integrations.evals.metrics import Figures, Metric
from splitreason_integrations.evals.paired import Difference, Paired
from splitreason_integrations.evals.results import Result

_FAR = 0.2
"""Largest relative error of a requested share that is not reported."""
_HEADINGS = ("", "accuracy", "95 % interval", "large share", "tokens/s", "seconds")
RESULT_HEADINGS = (
    *("mode", "trigger", "accuracy", "95 % interval", "large share", "95 % interval"),
    *("share asked for", "p50, p95 s", "planned p50, p95 s", "USD per 1k"),
)
PAIR_HEADINGS = (
    *("first", "other", "accuracy, first − other", "large tokens, first ÷ other"),
    *("right alone: first, other", "p", "intervals", "verdict"),
)


def for_terminal(results: Sequence[Result]) -> Table:
    """Return a table of modes and their figures."""
    table = Table(box=None, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for result in results:
        table.add_row(result.name, *_figures(result), f"{result.seconds:.1f}")
    return table


def missed_shares(results: Sequence[Result]) -> list[str]:
    """Return a warning for each result whose share is far from the requested one."""
    return [
        f"{one.name}: requested share {one.share_asked:.2%}, nearest share reached "
        f"{one.offload_share:.2%}"
        for one in results
        if one.share_asked is not None
        and abs(one.offload_share - one.share_asked) > _FAR * one.share_asked
    ]


def rules_and_reading(results: Sequence[Result]) -> list[str]:
    """Return a line for each result with spans: what ended them, and what was read meanwhile."""
    lines = []
    for one in results:
        if not one.close:
            continue
        line = f"{one.name}: spans end by {one.close}"
        if one.read_ahead_tokens:
            n = len(one.outcomes)
            line += (
                f"; the large model read {one.read_ahead_tokens / n:.0f} tokens an answer while "
                f"the small one wrote; {one.small_surplus_tokens / n:.0f} tokens of the small one "
                "were dropped"
            )
        lines.append(line)
    return lines


def pairs_for_terminal(pairs: Sequence[Paired]) -> Table:
    """Return a table of paired comparisons."""
    table = Table(box=None, header_style="bold")
    for heading in ("", "accuracy", "large tokens", "verdict"):
        table.add_column(heading)
    for pair in pairs:
        table.add_row(
            f"{pair.first} against {pair.other}", *pair_cells(pair)[2:4], pair_cells(pair)[-1]
        )
    return table


def results_in_markdown(results: Sequence[Result]) -> str:
    """Return a Markdown table of all figures of each result."""
    return markdown_table(RESULT_HEADINGS, map(result_cells, results))


def pairs_in_markdown(pairs: Sequence[Paired]) -> str:
    """Return a Markdown table of paired comparisons."""
    return markdown_table(PAIR_HEADINGS, map(pair_cells, pairs))


def passes_in_markdown(results: Sequence[Result]) -> str:
    """Return a Markdown table of pass@k with one row per result."""
    ks = list(results[0].pass_at)
    rows = [(result.name, *pass_cells(result)) for result in results]
    return markdown_table(["mode", *(f"pass@{k}" for k in ks)], rows)


def result_cells(result: Result) -> tuple[str, ...]:
    """Return a result's figures in the order of `RESULT_HEADINGS`."""
    share, usd = (result.measured[metric] for metric in (Metric.SHARE, Metric.USD))
    return (
        result.name,
        result.trigger,
        f"{result.accuracy:.1%}",
        _interval(result.interval),
        f"{result.offload_share:.2%}",
        _interval((share.low, share.high)),
        "" if result.share_asked is None else f"{result.share_asked:.2%}",
        _latency(result.measured),
        _latency(result.planned),
        f"{usd.value:.4g}",
    )


def pair_cells(pair: Paired) -> tuple[str, ...]:
    """Return a comparison's figures in the order of `PAIR_HEADINGS`."""
    return (
        pair.first,
        pair.other,
        _difference(pair.accuracy, "{:+.1%}"),
        _difference(pair.large_tokens, "{:.3f}"),
        f"{pair.only_first}, {pair.only_other}",
        "" if pair.p is None else f"{pair.p:.2g}",
        "apart" if pair.apart else "overlap",
        pair.verdict,
    )


def pass_cells(result: Result) -> tuple[str, ...]:
    """Return pass@k for each k, with intervals."""
    return tuple(
        f"{value:.1%} ({_interval(result.pass_interval(k))})" for k, value in result.pass_at.items()
    )


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars and line breaks within a cell are made harmless."""
    lines = [f"| {' | '.join(headings)} |", "|---|" + "---|" * (len(headings) - 1)]
    # A name may be a path that contains a bar or a line break, which would end its cell.
    cells = ([" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def _figures(result: Result) -> tuple[str, str, str, str]:
    return (
        f"{result.accuracy:.1%}",
        _interval(result.interval),
        f"{result.offload_share:.1%}",
        f"{sum(result.tokens.values()) / result.seconds:.0f}",
    )


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.1%} to {high:.1%}"


def _difference(found: Difference | None, form: str) -> str:
    if found is None:
        return "–"
    value, low, high = (form.format(one) for one in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _latency(found: Figures) -> str:
    p50, p95 = found[Metric.LATENCY_P50].value, found[Metric.LATENCY_P95].value
    return f"{p50:.2f}, {p95:.2f}"

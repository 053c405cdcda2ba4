"""Options, execution and report that the `splitreason annotate` commands share."""

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from splitreason_integrations import blocking
from splitreason_integrations.annotation.annotators import Annotator
from splitreason_integrations.annotation.output import refused_path
from splitreason_integrations.annotation.report import Report
from splitreason_integrations.annotation.run import OnProgress, Settings, annotate
from splitreason_integrations.annotation.sources import open_source
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.cli.display import ProgressShown
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.errors import RequestError
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.records.printable import harmless

Source = Annotated[
    str,
    typer.Argument(
        help="JSON lines, each with question or messages, and trace or reasoning; or "
        "datasets:<name or folder>[:split].",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(help="File for the tagged rows; an unfinished one is resumed."),
]
AlignTo = Annotated[
    Align, typer.Option("--align", help="What spans are extended to: sentence, line or none.")
]
Cutoff = Annotated[
    float,
    typer.Option(
        min=0, max=100, help="Similarity that a misquoted snippet and its place must have."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="Name of a field's column, as in trace=thinking; repeatable.",
        show_default=False,
    ),
]
Counted = Annotated[
    str | None,
    typer.Option(
        "--small",
        help="Model to be trained: its tokenizer counts, and its control tags are refused.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that place and write; by default one per core."),
]


@dataclass(frozen=True, slots=True)
class Job:
    """What to annotate, and where to write.

    Attributes:
        source: A file or dataset.
        out: Output file.
        columns: Renamed columns, as field=column.
        as_json: Whether to print the report as JSON.

    """

    source: str
    out: Path
    columns: Sequence[str]
    as_json: bool


def run(
    job: Job,
    annotator: Callable[[], Annotator],
    settings: Settings,
    models: Sequence[str | None],
) -> None:
    """Annotate, and print the report; exit with status 1 if every trace was refused.

    Args:
        job: What to annotate.
        annotator: Makes the annotator, once the traces are validated.
        settings: How spans are placed and written.
        models: The first model's tokenizer counts tokens; the control tags of all are refused.

    """
    rows = open_source(job.source, _columns(job.columns))
    by = annotator()
    settings = _with_tokenizers(settings, [one for one in models if one is not None])
    with progress(rows.total) as on_progress:
        report = blocking.run(
            lambda: annotate(rows, by, job.out, settings, on_progress=on_progress)
        )
    if job.as_json:
        echo(json.dumps({"out": str(job.out), **report.data()}))
    else:
        _show(Screen(highlight=False), report, job.out)
    if report.traces and report.refused.total() == report.traces:
        raise typer.Exit(1)


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _with_tokenizers(settings: Settings, models: Sequence[str]) -> Settings:
    if not models:
        return settings
    from splitreason_integrations.annotation.tokens import tokenizer_of

    tokenizers = [tokenizer_of(model) for model in dict.fromkeys(models)]
    control = {tag for _, tags in tokenizers for tag in tags}
    return replace(settings, tokenizer=tokenizers[0][0], control=tuple(sorted(control)))


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns = dict[str, str]()
    for text in given:
        field, _, column = text.partition("=")
        if not field or not column:
            raise RequestError(f"--column {text!r}: write field=column, as in trace=thinking")
        columns[field] = column
    return columns


@contextmanager
def progress(total: int | None) -> Generator[OnProgress, None, None]:
    """Show progress and cost on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[spent]}"),
    )
    console = Screen(stderr=True)
    with ProgressShown(*columns, console=console) as bar:
        task = bar.add_task("", total=total, spent="")

        def on_progress(stage: str, done: int, usd: float) -> None:
            spent = f"{usd:.4f} USD" if usd else ""
            bar.update(task, description=stage, completed=done, spent=spent)

        yield on_progress


def _show(console: Console, report: Report, out: Path) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _rows(report, out):
        table.add_row(name, harmless(value))
    print_table(console, table)


def _rows(report: Report, out: Path) -> list[tuple[str, str]]:
    facts = report.data()
    lengths, snippets = facts["span_characters"], facts["snippets"]
    share = f"{facts['character_share']:.1%} of characters"
    if facts["token_share"] is not None:
        share += f", {facts['token_share']:.1%} of tokens"
    rows = [
        ("traces", f"{facts['traces']}, {facts['tagged']} of them tagged, into {out}"),
        ("spans", f"{facts['spans']}, p50 {lengths['p50']} and p95 {lengths['p95']} characters"),
        ("share", share),
    ]
    if any(snippets[name] for name in ("exact", "normalised", "fuzzy", "rejected")):
        placed = ", ".join(f"{snippets[how]} {how}" for how in ("exact", "normalised", "fuzzy"))
        why = _counts(snippets["rejected_because"])
        rows.append(("snippets", f"{placed}, {snippets['rejected']} rejected{why}"))
    if facts["min_score"] is not None:
        rows.append(("score", f"{facts['min_score']:.12g} or more"))
    if facts["gold"] is not None:
        gold = facts["gold"]
        rows.append(
            ("known spans", f"precision {gold['precision']:.1%}, recall {gold['recall']:.1%}")
        )
    if facts["refused"]:
        why = _counts(facts["refused_because"])
        rows.append(("refused", f"{facts['refused']}{why}, in {refused_path(out)}"))
    if facts["input_tokens"]:
        tokens = f"{facts['input_tokens']} tokens read, {facts['output_tokens']} written"
        rows.append(("cost", f"{facts['usd']:.4f} USD, {tokens}"))
    rows.append(("seconds", f"{facts['seconds']:.1f}"))
    if facts["stopped"]:
        rows.append(("stopped", f"{facts['stopped']}: the same command with more resumes"))
    return rows


def _counts(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{times} {reason}" for reason, times in counts.items())
    return f" ({listed})" if listed else ""

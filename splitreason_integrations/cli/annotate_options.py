"""What the `splitreason annotate` commands share: options, the run, and how it is shown."""

import json
import os
import sys
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
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from splitreason_integrations import blocking
from splitreason_integrations.annotation.annotators import Annotator
from splitreason_integrations.annotation.output import refused_path
from splitreason_integrations.annotation.report import Report
from splitreason_integrations.annotation.run import Settings, Told, annotate
from splitreason_integrations.annotation.sources import open_source
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.errors import RequestError
from splitreason_integrations.humans.terminal import harmless

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
    typer.Option(help="File for the tagged rows; one that was begun is gone on with."),
]
AlignTo = Annotated[
    Align, typer.Option("--align", help="What spans are stretched to: sentence, line or none.")
]
Cutoff = Annotated[
    float,
    typer.Option(min=0, max=100, help="How alike a misquoted snippet and its place must be."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="What a field is called here, as in trace=thinking; repeatable.",
        show_default=False,
    ),
]
Counted = Annotated[
    str | None,
    typer.Option(
        "--small",
        help="Model that will be trained: counts tokens by it and refuses its control tags.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that place and write; without, one a core."),
]


@dataclass(frozen=True, slots=True)
class Job:
    """What is annotated, and where to."""

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
    """Annotate, and print the report; end with status 1 where every trace was refused.

    The annotator is made once the traces are seen to be there. The first model's tokenizer counts;
    the control tags of all of them are refused.
    """
    rows = open_source(job.source, _columns(job.columns))
    by = annotator()
    settings = _with_tokenizers(settings, [one for one in models if one is not None])
    with progress(rows.total) as told:
        report = blocking.run(lambda: annotate(rows, by, job.out, settings, told=told))
    if job.as_json:
        typer.echo(json.dumps({"out": str(job.out), **report.data()}))
    else:
        _show(Console(highlight=False), report, job.out)
    if report.traces and report.refused.total() == report.traces:
        raise typer.Exit(1)


def cores() -> int:
    """Return how many processes this one may keep busy."""
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
def progress(total: int | None) -> Generator[Told, None, None]:
    """Show progress and what was spent, on standard error, if that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[spent]}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("", total=total, spent="")

        def told(stage: str, done: int, usd: float) -> None:
            spent = f"{usd:.4f} USD" if usd else ""
            bar.update(task, description=stage, completed=done, spent=spent)

        yield told


def _show(console: Console, report: Report, out: Path) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in _rows(report, out):
        table.add_row(name, harmless(value))
    console.print(table)


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
        rows.append(("stopped", f"{facts['stopped']}: the same command goes on with more"))
    return rows


def _counts(counts: dict[str, int]) -> str:
    told = ", ".join(f"{times} {reason}" for reason, times in counts.items())
    return f" ({told})" if told else ""

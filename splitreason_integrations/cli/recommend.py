"""`splitreason recommend`: whether and how two models should share replies, on your own prompts."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from splitreason_integrations import __version__
from splitreason_integrations.cli import eval_options, options
from splitreason_integrations.cli.evaluate import measure
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.embedded import MEMBERS
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals import recommendation_page as pages
from splitreason_integrations.evals import report
from splitreason_integrations.evals.agreement import Likeness, parse_likeness
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.journal import Journal
from splitreason_integrations.evals.plot import check_matplotlib
from splitreason_integrations.evals.process_pool import ProcessPool
from splitreason_integrations.evals.recommend import check_prompts, names_of
from splitreason_integrations.evals.recommend import recommend as find
from splitreason_integrations.evals.recommendation import Recommendation
from splitreason_integrations.evals.runner import Runner, fingerprint
from splitreason_integrations.humans.screen import Screen, echo

_PROMPTS = 60


def recommend(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for report.html, policy.toml, report.json and finished answers, from "
            "which the same command resumes; needs the extra plot."
        ),
    ],
    small: options.Small = None,
    large: options.Large = None,
    data: options.Prompts = None,
    samples: Annotated[int, typer.Option(min=1, help="Most prompts to use.")] = _PROMPTS,
    grade: Annotated[
        str,
        typer.Option(
            help="With answers: math, exact, number, contains, or auto. Without: how an answer is "
            "compared with the large model's own: math, exact, number, words (F1), or auto."
        ),
    ] = "auto",
    share: Annotated[
        float | None,
        typer.Option(
            help="Offload share for which thresholds are set; by default that of disagreement<0.1.",
            min=0.001,
            max=0.999,
            show_default=False,
        ),
    ] = None,
    max_usd: options.MaxUsd = None,
    large_input_usd: options.InputUsd = 0.0,
    large_output_usd: options.OutputUsd = 0.0,
    round_trip_ms: options.RoundTripMs = 0.0,
    large_tokens_per_s: options.TokensPerS = None,
    max_tokens: options.MaxTokens = 512,
    concurrency: eval_options.Concurrency = 1,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that answer, each with its own models; by default 1, and one per core, "
            "at most 2, for the bundled models.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Find out on your prompts whether two models should share replies, and by which trigger.

    Tries the small and the large model alone, the tag if the small model was taught it, and the
    triggers that need no training at equal offload shares. With answers the verdict rests on
    accuracy, else on agreement with the large model. Needs 30 prompts or more. With prices and
    without --max-usd, the forecast of the cost is printed and nothing is spent.
    """
    check_matplotlib()
    prices = Prices(large_input_usd, large_output_usd)
    engine = options.priced(options.engine(small, large, None), prices)
    engine = options.keyed(engine, api_key_env)
    tasks = options.prompts(data, samples=samples, seed=seed, needs_answer=False)
    likeness: Likeness | None = None
    if all(task.answer is not None for task in tasks):
        tasks = eval_options.graded(tasks, grade)
    else:
        likeness = parse_likeness(grade)
    workers = processes or _processes(engine)
    runner = Runner(
        tasks=tasks,
        asking=Asking(seed=seed, max_tokens=max_tokens),
        concurrency=max(concurrency, workers),
        network=options.network(round_trip_ms, large_tokens_per_s),
    )
    check_prompts(runner)
    eval_options.check_parallel(concurrency, workers)
    settings = _settings(runner, engine, grade, workers)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(out, settings))
        pool = stack.enter_context(ProcessPool(workers)) if workers > 1 else None
        runner = replace(runner, journal=journal, process_pool=pool)
        found = measure(
            lambda progress: find(
                replace(runner, progress=progress),
                engine,
                share=share,
                likeness=likeness,
                max_usd=max_usd,
                on_forecast=lambda about_usd: echo(
                    f"the large model will cost about {about_usd:.3g} USD", err=True
                ),
            )
        )
        context = {**report.context(options.command_line()), "settings": settings}
        pages.write(out, found, context, names_of(engine))
    _show(found, context, out, names_of(engine), as_json=as_json)


def _processes(engine: SplitEngine) -> int:
    """Return how many processes answer by default: several for the bundled models alone."""
    bundled = {"embedded", *(f"embedded:{member}" for member in MEMBERS)}
    names = {str(getattr(spec, "name", spec)) for spec in (engine.small, engine.large)}
    labels = bundled | {f"splitreason-embedded-{member}" for member in MEMBERS}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(2, cores) if names <= labels else 1


def _settings(runner: Runner, engine: SplitEngine, grade: str, workers: int) -> Mapping[str, Any]:
    """Return all settings that affect an answer, except models and triggers."""
    return {
        "tasks": fingerprint(runner.tasks),
        "n": len(runner.tasks),
        "seed": runner.asking.seed,
        "max_tokens": runner.asking.max_tokens,
        "grade": grade,
        "concurrency": runner.concurrency,
        "processes": workers,
        "prices": str(getattr(engine.large, "prices", None)),
        "version": __version__,
    }


def _show(
    found: Recommendation,
    context: Mapping[str, Any],
    out: Path,
    models: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    echo(f"wrote {pages.PAGE}, {pages.POLICY}, {pages.DATA} in {out}", err=True)
    code = pages.code_for(models, out / pages.POLICY)
    if as_json:
        echo(json.dumps({**found.data(), "models": models, "code": code, **context}))
        return
    console = Screen(highlight=False)
    table = Table(box=None, header_style="bold")
    headings = pages.headings(found)
    for at in pages.TERMINAL:
        justify: Literal["left", "right"] = "right" if at else "left"
        table.add_column(headings[at], justify=justify, overflow="fold")
    for one in found.rows:
        cells = pages.cells(one, found)
        chosen = one is found.verdict.chosen
        table.add_row(*(cells[at] for at in pages.TERMINAL), style="bold" if chosen else None)
    print_table(console, table)
    console.print()
    print_lines(console, found.verdict.sentence, "bold")
    if not found.is_priced:
        print_lines(console, pages.PRICE_ASSUMED)
    for step in found.verdict.steps:
        print_lines(console, f"- {step}")
    console.print(f"\n{code}", soft_wrap=True, markup=False)

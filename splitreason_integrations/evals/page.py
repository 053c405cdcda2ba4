"""Write an evaluation's report as JSON, as Markdown and as one self-contained HTML page.

Every report includes the command, date, machine and versions behind its figures.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitreason_integrations.audit.page import template
from splitreason_integrations.evals import tables
from splitreason_integrations.evals.contest import Contest
from splitreason_integrations.evals.drawings import drawings
from splitreason_integrations.evals.journal import REPORTS
from splitreason_integrations.evals.results import Result
from splitreason_integrations.records.printable import harmless

_HERE = Path(__file__).parent
_TRACES = 12
_TRACED = ("split", "small")


def write_report(folder: Path, contest: Contest, context: Mapping[str, Any]) -> None:
    """Write the three report files atomically.

    Args:
        folder: Where to write.
        contest: Results and comparisons.
        context: Command, hardware, versions and date, as from `report.context`.

    """
    data = json.dumps({**contest.data(), **context}, indent=2)
    for name, text in zip(
        REPORTS, (data, markdown(contest, context), page(contest, context)), strict=True
    ):
        part = folder / f"{name}.part"
        part.write_text(text + "\n", "utf-8", errors="backslashreplace")
        os.replace(part, folder / name)


def markdown(contest: Contest, context: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    parts = ["# Evaluation report", _fenced(str(context["command"]))]
    parts += [*remarks(contest), "## Results", tables.results_in_markdown(contest.results)]
    if contest.results[0].samples > 1:
        parts += ["## pass@k", tables.passes_in_markdown(contest.results)]
    if contest.pairs:
        parts += ["## Paired comparisons", tables.pairs_in_markdown(contest.pairs)]
    parts += ["## Hardware and versions"]
    parts.append("\n".join(f"- {what}: {which}" for what, which in _facts(context)))
    return "\n\n".join(parts)


def page(contest: Contest, context: Mapping[str, Any]) -> str:
    """Return the report as one HTML page; all text from prompts and models is escaped."""
    results = contest.results
    several = results[0].samples > 1
    return template("evaluation.html", {"harmless": harmless}, folder=_HERE).render(
        own_style=(_HERE / "evaluation.css").read_text("utf-8"),
        context=context,
        remarks=remarks(contest),
        result_headings=tables.RESULT_HEADINGS,
        result_rows=[tables.result_cells(result) for result in results],
        pass_headings=["mode", *(f"pass@{k}" for k in results[0].pass_at)],
        passes=[(one.name, *tables.pass_cells(one)) for one in results] if several else [],
        pair_headings=tables.PAIR_HEADINGS,
        pair_rows=[tables.pair_cells(pair) for pair in contest.pairs],
        drawings=drawings(results),
        traces=[_trace(contest, number) for number in _tasks_to_show(results)],
        facts=_facts(context),
    )


def remarks(contest: Contest) -> list[str]:
    """Return sentences that say how the figures were measured."""
    first = contest.results[0]
    per_task = f"{first.samples} samples per task" if first.samples > 1 else "one answer per task"
    interval = (
        "bootstrap of whole tasks"
        if first.samples > 1
        else "Wilson for accuracy, otherwise bootstrap of tasks"
    )
    at_once = "one answer at a time" if first.at_once == 1 else f"{first.at_once} answers at once"
    sentences = [
        f"{first.tasks} tasks, {per_task}, seed {first.seed}; the same tasks and seeds in all "
        f"rows. Intervals: 95 %, {interval}.",
        f"Latency was measured with {at_once}"
        + (", which share the machine." if first.at_once > 1 else ".")
        + f" Planned latency assumes a remote large model: {first.network}.",
    ]
    if contest.pairs:
        pair = contest.pairs[0]
        sentences.append(
            f"Comparisons are paired by task: {pair.resamples:,} bootstrap resamples, seed "
            f'{pair.seed}; p is from McNemar\'s exact test, for one answer per task. "Better" '
            "means more accurate without significantly more large tokens."
        )
    return sentences


def _tasks_to_show(results: Sequence[Result]) -> list[int]:
    """Return task numbers to show; tasks on which the shown modes disagree come first."""
    shown = _shown(results)
    rights = [{bool(one.rights[number, 0]) for one in shown} for number in range(shown[0].tasks)]
    order = sorted(range(len(rights)), key=lambda number: len(rights[number]) < 2)
    return order[:_TRACES]


def _shown(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.mode in _TRACED] or list(results[:1])


def _trace(contest: Contest, number: int) -> dict[str, Any]:
    task, answers = contest.tasks[number], []
    for result in _shown(contest.results):
        outcome = result.outcomes[number * result.samples]
        answers.append(
            {
                "name": result.name,
                "right": outcome.right,
                "tokens": sum(reply.tokens for reply in outcome.replies),
                "large": sum(reply.large_tokens for reply in outcome.replies),
                "seconds": outcome.seconds,
                "pieces": [{**one, "text": harmless(one["text"])} for one in outcome.texts],
            }
        )
    question = str(task.messages[-1].get("content") or "")
    expected = "any text" if task.answer is None else task.answer
    return {"number": number, "question": question, "expected": expected, "answers": answers}


def _facts(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return everything in the context except the command, flattened one level."""
    found: list[tuple[str, str]] = []
    for what, which in context.items():
        if isinstance(which, Mapping):
            found += [(f"{what}: {name}", str(value)) for name, value in which.items()]
        elif what != "command":
            found.append((what, str(which)))
    return [(what.replace("_", " "), harmless(" ".join(which.split()))) for what, which in found]


def _fenced(text: str) -> str:
    """Return a code block whose fence is longer than any fence inside the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}sh\n{harmless(text)}\n{fence}"

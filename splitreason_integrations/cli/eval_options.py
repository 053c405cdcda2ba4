"""Options of `splitreason eval`, and what they describe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from splitreason_integrations.cli import options
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import hub
from splitreason_integrations.evals.grading import parse_grade
from splitreason_integrations.evals.math_judge import check_judge
from splitreason_integrations.evals.runner import MODES
from splitreason_integrations.evals.tasks import Task, generated, graded_by, read_jsonl

Mode = Annotated[
    str, typer.Option(help=f"What writes, several by commas: {', '.join(MODES)}; or all.")
]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help=f"Tasks of the hub: {', '.join(hub.SETS)}.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option(help="JSON lines with question or messages, and answer; else fresh problems."),
]
Families = Annotated[
    str, typer.Option(help="Families of fresh problems: word,context,frameworks,tools,chat.")
]
Split = Annotated[
    str, typer.Option(help="dev, test (unseen problems) or test-operands (unseen operands).")
]
GradeName = Annotated[
    str,
    typer.Option(
        help="How replies are graded: math (math-verify), exact, number (the last one), contains, "
        "or auto, by the answer."
    ),
]
Samples = Annotated[int, typer.Option(min=1, help="How many tasks.")]
SamplesPerTask = Annotated[
    int, typer.Option(min=1, help="Answers a task; above 1 with a --temperature, gives pass@k.")
]
Temperature = Annotated[float, options.declared("temperature")]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        help="Another small model for the same tasks, seeds and --large, compared in pairs; "
        "repeatable.",
        show_default=False,
    ),
]
AtShare = Annotated[
    str | None,
    typer.Option(
        help="Bring split, random, entropy and rule to these offload shares, such as 0.05,0.1; "
        "without, split runs as it is and the others at its share.",
        show_default=False,
    ),
]
Rule = Annotated[str, typer.Option(help="Regular expression behind which `rule` opens a span.")]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Answers at once, as on servers; latencies then are those.")
]
Processes = Annotated[
    int,
    typer.Option(
        min=1, help="Processes that answer, each with the models: for models on CPU cores."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder for report.json, .md and .html, and for each answer at once: the same command "
        "goes on where it was; needs the extra plot.",
        show_default=False,
    ),
]


def tasks(
    *, name: str | None, data: Path | None, family: str, split: str, samples: int, seed: int
) -> list[Task]:
    """Return the tasks of a named set, of a file, or fresh ones."""
    if name is not None and data is not None:
        raise RequestError("give either --task or --data")
    if name is not None:
        return hub.named(name)[:samples]
    if data is not None:
        return read_jsonl(data)[:samples]
    return generated(split, family.split(","), n=samples, seed=seed)


def graded(found: Sequence[Task], grade: str) -> list[Task]:
    """Return the tasks, graded as asked; raise where what grades them is missing."""
    changed = graded_by(found, parse_grade(grade))
    if any(task.needs_maths for task in changed):
        check_judge()
    return changed


def modes(text: str, engine: SplitEngine) -> tuple[str, ...]:
    """Return the modes of a list by commas; `all` has `base` for the embedded pair alone."""
    every = [mode for mode in MODES if mode != "base" or engine.small == "embedded"]
    named = [mode.strip() for mode in text.split(",")]
    return tuple(
        dict.fromkeys(one for mode in named for one in (every if mode == "all" else [mode]))
    )


def check_compared(compare: Sequence[str] | None, large: str | None) -> None:
    """Refuse small models to compare where no large model is named that works with them.

    Raises:
        RequestError: `--compare` is given without `--large`.

    """
    if compare and large is None:
        raise RequestError(
            "--compare names a small model and --large is not named: name the large model of all "
            "pairs; --small embedded --large embedded names the bundled pair"
        )


def shares(text: str | None) -> tuple[float, ...]:
    """Return the offload shares of a list by commas."""
    try:
        return tuple(float(share) for share in text.split(",")) if text else ()
    except ValueError as error:
        raise RequestError(
            f"--at-share takes numbers by commas, such as 0.05,0.1: {error}"
        ) from error

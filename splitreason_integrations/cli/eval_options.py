"""Options of `splitreason eval`, and the tasks and modes that they select."""

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

Mode = Annotated[str, typer.Option(help=f"Modes, comma-separated: {', '.join(MODES)}; or all.")]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help=f"Task set of the hub: {', '.join(hub.SETS)}.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="JSON lines with question or messages, and answer; by default fresh problems."
    ),
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
Samples = Annotated[int, typer.Option(min=1, help="Number of tasks.")]
SamplesPerTask = Annotated[
    int, typer.Option(min=1, help="Answers per task; above 1, with a --temperature, for pass@k.")
]
Temperature = Annotated[float, options.declared("temperature", has_default=True)]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        help="Another small model to compare on the same tasks, seeds and --large; repeatable.",
        show_default=False,
    ),
]
AtShare = Annotated[
    str | None,
    typer.Option(
        help="Tune split, random, entropy and rule to these offload shares, such as 0.05,0.1; "
        "by default split is not tuned and the others run at its share.",
        show_default=False,
    ),
]
Rule = Annotated[str, typer.Option(help="Regular expression after which `rule` opens a span.")]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Concurrent answers, for servers; this raises latencies.")
]
Processes = Annotated[
    int,
    typer.Option(
        min=1, help="Processes that answer, each with its own models, for models on CPU cores."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder for report.json, .md and .html, and for finished answers, from which the same "
        "command resumes; needs the extra plot.",
        show_default=False,
    ),
]


def tasks(
    *, name: str | None, data: Path | None, family: str, split: str, samples: int, seed: int
) -> list[Task]:
    """Return the tasks of a named set or a file, or fresh problems."""
    if name is not None and data is not None:
        raise RequestError("give either --task or --data")
    if name is not None:
        return hub.named(name)[:samples]
    if data is not None:
        return read_jsonl(data)[:samples]
    return generated(split, family.split(","), n=samples, seed=seed)


def graded(found: Sequence[Task], grade: str) -> list[Task]:
    """Return the tasks with the requested grading.

    Raises:
        MissingExtraError: The grading needs math-verify, which is not installed.

    """
    changed = graded_by(found, parse_grade(grade))
    if any(task.needs_maths for task in changed):
        check_judge()
    return changed


def modes(text: str, engine: SplitEngine) -> tuple[str, ...]:
    """Return the modes of a comma-separated list; `all` has `base` only for the bundled pair."""
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


def check_parallel(concurrency: int, processes: int) -> None:
    """Refuse both ways at once of having several answers in progress.

    Raises:
        RequestError: Both numbers are above 1.

    """
    if concurrency > 1 and processes > 1:
        raise RequestError(
            "give either --concurrency, for servers or a GPU, or --processes, for models on CPU "
            "cores"
        )


def shares(text: str | None) -> tuple[float, ...]:
    """Return the offload shares of a comma-separated list."""
    try:
        return tuple(float(share) for share in text.split(",")) if text else ()
    except ValueError as error:
        raise RequestError(
            f"--at-share takes comma-separated numbers, such as 0.05,0.1: {error}"
        ) from error

"""Named task sets from the Hugging Face hub: dataset revision, columns and grading."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from splitreason_integrations.backends import hub
from splitreason_integrations.errors import MissingExtraError, RequestError
from splitreason_integrations.evals.grading import Grade
from splitreason_integrations.evals.tasks import Task

_BOX = "\n\nReason step by step, and put the final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class HubSet:
    """A dataset on the hub at a fixed commit.

    Attributes:
        path: Repository of the dataset.
        revision: Commit hash.
        split: Split to read.
        question: Column of the question.
        answer: Column of the answer.
        config: Configuration name, where the dataset has several.
        grade: How replies are graded.
        answer_after: Marker in the answer column; only the text after its last occurrence counts.

    """

    path: str
    revision: str
    split: str
    question: str = "problem"
    answer: str = "answer"
    config: str | None = None
    grade: Grade = Grade.MATH
    answer_after: str = ""


SETS: Mapping[str, HubSet] = {
    "aime24": HubSet(
        "HuggingFaceH4/aime_2024", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a", split="train"
    ),
    "aime25": HubSet("math-ai/aime25", "563bb8404243c5f09de6ec262f2db674fe5bce9b", split="test"),
    "math-500": HubSet(
        "HuggingFaceH4/MATH-500", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", split="test"
    ),
    "gsm8k": HubSet(
        "openai/gsm8k",
        "e53f048856ff4f594e959d75785d2c2d37b678ee",
        "test",
        question="question",
        config="main",
        grade=Grade.NUMBER,
        answer_after="####",
    ),
}


def named(name: str) -> list[Task]:
    """Return the tasks of a named set; they come from the local cache if the hub is unreachable.

    Raises:
        RequestError: The name is unknown, or the set can be loaded neither from hub nor cache.
        MissingExtraError: `datasets` is not installed.

    """
    if name not in SETS:
        raise RequestError(f"unknown task {name!r}: use one of {', '.join(SETS)}, or --data")
    found = SETS[name]
    if find_spec("datasets") is None:
        raise MissingExtraError(
            'reading a set from the hub needs datasets: pip install "splitreason-integrations'
            '[eval]", or give your own tasks: --data file.jsonl'
        )
    return [_task(found, row) for row in _rows(name, found)]


def _rows(name: str, found: HubSet) -> Any:
    import datasets

    try:
        with _quietly(offline=not hub.answers()):
            return datasets.load_dataset(
                found.path, found.config, split=found.split, revision=found.revision
            )
    except Exception as error:  # whatever the network and the formats of files raise
        raise RequestError(
            f"{name}: {found.path} can be loaded neither from the hub nor from the local cache "
            f"({type(error).__name__}); without a hub, give the tasks as JSON lines with "
            "question and answer: --data file.jsonl"
        ) from error


@contextmanager
def _quietly(*, offline: bool) -> Generator[None, None, None]:
    """Hide the progress bars of `datasets`; when offline, make it use its cache only.

    Otherwise its retries take half a minute if the hub is unreachable. The environment variable
    HF_HUB_OFFLINE is read at import, which has already happened.
    """
    import datasets
    from huggingface_hub import constants

    before = (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    if offline:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
        if bars:
            datasets.enable_progress_bars()


def _task(found: HubSet, row: Mapping[str, Any]) -> Task:
    try:
        question, answer = str(row[found.question]), str(row[found.answer])
    except KeyError as error:
        raise RequestError(
            f"{found.path} has no column {error}: give your own tasks: --data file.jsonl"
        ) from error
    if found.answer_after:
        answer = answer.rpartition(found.answer_after)[2]
    return Task(
        messages=({"role": "user", "content": question + _BOX},),
        answer=answer.strip(),
        grade=found.grade,
    )

"""Sets of tasks by name, from the hub: which version, which columns, how graded."""

import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from splitreason_integrations.errors import MissingExtraError, RequestError
from splitreason_integrations.evals.grading import Grade
from splitreason_integrations.evals.tasks import Task

_ANSWERS_IN_S = 5.0
_BOX = "\n\nReason step by step, and put the final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class HubSet:
    """A set on the hub, at one commit; the answer stands behind `answer_after`, if that is set."""

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
    """Return the tasks of a named set; from the local cache where there is no hub.

    Raises RequestError for unknown names and where the set cannot be had, MissingExtraError
    without `datasets`.
    """
    if name not in SETS:
        raise RequestError(f"unknown task {name!r}: use one of {', '.join(SETS)}, or --data")
    found = SETS[name]
    if find_spec("datasets") is None:
        raise MissingExtraError(
            'sets of the hub are read by datasets: pip install "splitreason-integrations[eval]", '
            "or bring the tasks yourself: --data file.jsonl"
        )
    return [_task(found, row) for row in _rows(name, found)]


def _rows(name: str, found: HubSet) -> Any:
    import datasets

    try:
        with _quietly(offline=not _hub_answers()):
            return datasets.load_dataset(
                found.path, found.config, split=found.split, revision=found.revision
            )
    except Exception as error:
        raise RequestError(
            f"{name}: {found.path} cannot be had from the hub, nor from the local cache "
            f"({type(error).__name__}); where there is no hub, bring the tasks as JSON lines with "
            "question and answer: --data file.jsonl"
        ) from error


def _hub_answers() -> bool:
    """Return whether the hub's address can be reached; a proxy is taken to reach it."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    if getproxies().get("https"):
        return True
    hub = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        with socket.create_connection((hub.hostname or "", port), timeout=_ANSWERS_IN_S):
            return True
    except OSError:
        return False


@contextmanager
def _quietly(*, offline: bool) -> Generator[None, None, None]:
    """Have `datasets` show no bars and, offline, look into its cache alone.

    Its own retries would take half a minute for a hub that is not there; the variable
    HF_HUB_OFFLINE is read at the first import, which has happened.
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
            f"{found.path} has no column {error}: bring the tasks yourself: --data file.jsonl"
        ) from error
    if found.answer_after:
        answer = answer.rpartition(found.answer_after)[2]
    return Task(
        messages=({"role": "user", "content": question + _BOX},),
        answer=answer.strip(),
        grade=found.grade,
    )

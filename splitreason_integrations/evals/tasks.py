"""What is asked, how a reply is graded, and how tools answer on the way."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.problems import FAMILIES, Family, Problem, Split, grade, sample
from splitreason_integrations.records import Message, ToolCall

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Task:
    """One question with its answer, where that is known."""

    messages: tuple[Message, ...]
    answer: str | None = None
    problem: Problem | None = None

    @property
    def tools(self) -> Sequence[Message] | None:
        """The tools on offer."""
        return self.problem.tools if self.problem else None

    def right(self, reply: str) -> bool:
        """Return whether a reply gives the answer: its last number, or else the same text.

        Without a known answer no reply is right.
        """
        if self.problem:
            return grade(self.problem, reply)
        if self.answer is None:
            return False
        if _NUMBER.fullmatch(self.answer):
            found = _NUMBER.findall(reply)
            return bool(found) and _as_number(found[-1]) == _as_number(self.answer)
        return self.answer.casefold() in reply.casefold()

    def tool_result(self, call: ToolCall) -> str | None:
        """Return what the called tool says; None where the call cannot be answered."""
        if self.problem is None or call.arguments is None:
            return None
        return self.problem.result_of(call.name, dict(call.arguments))


def generated(split: str, families: Sequence[str], *, n: int, seed: int) -> list[Task]:
    """Return `n` fresh problems, spread evenly over the families.

    Raises RequestError for an unknown split or family.
    """
    splits = {one.value: one for one in Split if one is not Split.TRAIN}
    if split not in splits:
        raise RequestError(f"unknown split {split!r}: use one of {', '.join(splits)}")
    unknown = [family for family in families if family not in FAMILIES]
    if unknown or not families:
        raise RequestError(f"unknown family {unknown}: use some of {', '.join(FAMILIES)}")
    tasks: list[Task] = []
    for at, family in enumerate(families):
        share = (n + len(families) - 1 - at) // len(families)
        tasks += _family(splits[split], family, n=share, seed=seed)  # type: ignore[arg-type]
    return tasks


def _family(split: Split, family: Family, *, n: int, seed: int) -> list[Task]:
    return [
        Task(messages=problem.messages, answer=str(problem.answer), problem=problem)
        for problem in sample(split, family, seed=seed, n=n)
    ]


def read_jsonl(path: Path, *, needs_answer: bool = True) -> list[Task]:
    """Return the tasks of a JSON-lines file with `question` or `messages`, and `answer`.

    The answer may be missing where `needs_answer` is false. Raises RequestError that names the
    line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from error
    tasks = [
        _row(path, number, line, needs_answer=needs_answer)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not tasks:
        raise RequestError(f"{path}: holds no tasks")
    return tasks


def _row(path: Path, number: int, line: str, *, needs_answer: bool) -> Task:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise RequestError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(row, Mapping) or not {"question", "messages"} & set(row):
        raise RequestError(f'{path}, line {number}: needs either "question" or "messages"')
    if needs_answer and row.get("answer") is None:
        raise RequestError(
            f'{path}, line {number}: needs "answer" and either "question" or "messages"'
        )
    messages = row.get("messages") or [{"role": "user", "content": row["question"]}]
    answer = row.get("answer")
    return Task(messages=tuple(messages), answer=None if answer is None else str(answer))


def _as_number(text: str) -> float:
    return float(text.replace(",", ""))

"""Tasks: what is asked, how a reply is graded, and how tools answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.grading import Grade, grade_for, is_right
from splitreason_integrations.problems import FAMILIES, Family, Problem, Split, grade, sample
from splitreason_integrations.records import Message, ToolCall
from splitreason_integrations.text.prompts import check_messages


@dataclass(frozen=True)
class Task:
    """One question, with its answer where known, and how replies are graded.

    Attributes:
        messages: The conversation.
        answer: The expected answer; None where unknown.
        problem: The generated problem behind the task, if any; it supplies tools and grading.
        grade: How replies are graded.

    """

    messages: tuple[Message, ...]
    answer: str | None = None
    problem: Problem | None = None
    grade: Grade = Grade.AUTO

    @property
    def tools(self) -> Sequence[Message] | None:
        """Schemas of the tools on offer."""
        return self.problem.tools if self.problem else None

    @property
    def needs_maths(self) -> bool:
        """Whether grading needs math-verify."""
        if self.problem and self.grade is Grade.AUTO:
            return False
        chosen = grade_for(self.answer or "") if self.grade is Grade.AUTO else self.grade
        return chosen is Grade.MATH

    def right(self, reply: str) -> bool:
        """Return whether a reply gives the answer; False if no answer is known.

        A generated problem grades its own replies, unless a grade is set.
        """
        if self.problem and self.grade is Grade.AUTO:
            return grade(self.problem, reply)
        return self.answer is not None and is_right(reply, self.answer, self.grade)

    def tool_result(self, call: ToolCall) -> str | None:
        """Return the result of a tool call; None if it cannot be answered."""
        if self.problem is None or call.arguments is None:
            return None
        return self.problem.result_of(call.name, dict(call.arguments))


def generated(split: str, families: Sequence[str], *, n: int, seed: int) -> list[Task]:
    """Return `n` fresh problems, spread evenly over the families.

    Raises:
        RequestError: The split or a family is unknown.

    """
    splits = {one.value: one for one in Split if one is not Split.TRAIN}
    if split not in splits:
        raise RequestError(f"unknown split {split!r}: use one of {', '.join(splits)}")
    tasks: list[Task] = []
    for at, family in enumerate(known_families(families)):
        share = (n + len(families) - 1 - at) // len(families)
        tasks += _family(splits[split], family, n=share, seed=seed)
    return tasks


def known_families(names: Sequence[str]) -> tuple[Family, ...]:
    """Return the families with these names.

    Raises:
        RequestError: A name is unknown, or there are none.

    """
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        what = ", ".join(map(repr, unknown)) or "''"
        raise RequestError(f"unknown family {what}: use some of {', '.join(FAMILIES)}")
    return tuple(family for name in names for family in FAMILIES if family == name)


def _family(split: Split, family: Family, *, n: int, seed: int) -> list[Task]:
    return [
        Task(messages=problem.messages, answer=str(problem.answer), problem=problem)
        for problem in sample(split, family, seed=seed, n=n)
    ]


def read_jsonl(path: Path, *, needs_answer: bool = True) -> list[Task]:
    """Read tasks from a JSON-lines file with `question` or `messages`, and `answer`.

    Lines may lack an answer if `needs_answer` is false.

    Raises:
        RequestError: The file cannot be read or a line is not valid; the message names the line.

    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path}: cannot be read: {reason}") from error
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
    messages, answer = row.get("messages"), row.get("answer")
    if messages is None:
        messages = [{"role": "user", "content": row.get("question")}]
    if not isinstance(messages, list):
        raise RequestError(f'{path}, line {number}: "messages" must be a list')
    try:
        check_messages(messages)
    except RequestError as error:
        raise RequestError(f"{path}, line {number}: {error}") from error
    if not isinstance(answer, str | int | float | None) or not str(answer).strip():
        raise RequestError(
            f'{path}, line {number}: "answer" must be a number or a text, got {answer!r:.80}'
        )
    return Task(messages=tuple(messages), answer=None if answer is None else str(answer))


def graded_by(tasks: Sequence[Task], grade: Grade) -> list[Task]:
    """Return the tasks with another grade; unchanged for `auto`."""
    return [task if grade is Grade.AUTO else replace(task, grade=grade) for task in tasks]

"""Grade an answer: its last integer must be the expected one."""

from __future__ import annotations

import re

from splitreason_integrations.problems.records import Problem

_MOST_DIGITS = 4000
"""Python's limit for converting a text to an integer; no real answer is longer."""

INTEGER = re.compile(r"-?\d[\d,]*")
CITATION = re.compile(r"\[\d+\]")


def last_integer(text: str) -> int | None:
    """Return the last integer of a text, or None.

    Commas are allowed, citations are ignored, and an integer of thousands of digits counts as none.
    """
    found = INTEGER.findall(CITATION.sub("", text))
    digits = found[-1].replace(",", "") if found else ""
    return int(digits) if 0 < len(digits) <= _MOST_DIGITS else None


def grade(problem: Problem, answer_text: str) -> bool:
    """Return whether the answer is right; if any reply will do, whether there is text."""
    if problem.answer is None:
        return bool(answer_text.strip())
    if isinstance(problem.answer, str):
        return answer_text.strip() == problem.answer.strip()
    return last_integer(answer_text) == problem.answer

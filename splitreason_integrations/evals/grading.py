"""Decide whether a reply gives the expected answer. Replies are untrusted input.

No function here raises because of a reply's text, and none runs without a time limit: mathematics,
which may take long, is checked in a process that can be killed.
"""

import re
from decimal import Decimal
from enum import StrEnum

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.math_judge import judge

_NUMBER = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_MATHS = re.compile(r"[\\^{}$]|\d\s*[/*]\s*\d")
_BOXED = "\\boxed{"
_LONGEST = 4000
"""Most characters of a number or box that are read; no real answer is longer."""


class Grade(StrEnum):
    """How replies are graded.

    Attributes:
        AUTO: `number` for numeric answers, `math` for answers in mathematical notation, else
            `contains`.
        MATH: Mathematically equal according to math-verify (extra `eval`).
        EXACT: The last box, the last line or the whole reply equals the answer, ignoring case and
            white space.
        NUMBER: The last number of the reply equals the answer.
        CONTAINS: The reply contains the answer as whole words.

    """

    AUTO = "auto"
    MATH = "math"
    EXACT = "exact"
    NUMBER = "number"
    CONTAINS = "contains"


def parse_grade(text: str) -> Grade:
    """Return the grade with this name.

    Raises:
        RequestError: There is no such grade.

    """
    if text not in list(Grade):
        raise RequestError(f"unknown grade {text!r}: use one of {', '.join(Grade)}")
    return Grade(text)


def grade_for(answer: str) -> Grade:
    """Return the grade that `auto` selects for an answer."""
    if _NUMBER.fullmatch(answer.strip()):
        return Grade.NUMBER
    return Grade.MATH if _MATHS.search(answer) else Grade.CONTAINS


def is_right(reply: str, answer: str, grade: Grade) -> bool:
    """Return whether a reply gives the answer.

    Raises:
        MissingExtraError: math-verify is needed and not installed.

    """
    match grade_for(answer) if grade is Grade.AUTO else grade:
        case Grade.MATH:
            return _equal(reply, answer)
        case Grade.NUMBER:
            wanted = last_number(answer)
            return wanted is not None and last_number(boxed(reply) or reply) == wanted
        case Grade.EXACT:
            ends = (boxed(reply), reply.strip().rpartition("\n")[2], reply)
            return any(one is not None and _bare(one) == _bare(answer) for one in ends)
        case _:
            words = r"\s+".join(map(re.escape, answer.casefold().split()))
            found = re.search(rf"(?<!\w){words}(?!\w)", reply.casefold())
            return bool(words) and found is not None


def _equal(reply: str, answer: str) -> bool:
    """Compare the last box, or the expression that math-verify finds in a reply without a box."""
    box = boxed(reply)
    if box is not None and _bare(box) == _bare(answer):
        return True
    # Given several boxes, math-verify would compare the set of all of them.
    return judge().equal(reply if box is None else f"{_BOXED}{box}}}", answer)


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{…}` with balanced braces; None without one."""
    begin = text.rfind(_BOXED)
    if begin < 0:
        return None
    inside = text[begin + len(_BOXED) :][:_LONGEST]
    depth = 1
    for at, character in enumerate(inside):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return inside[:at]
    return None


def last_number(text: str) -> Decimal | None:
    """Return the last number of a text exactly; None if there is none or it is too long."""
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if not found or len(found[-1]) > _LONGEST:
        return None
    return Decimal(found[-1].replace(",", ""))


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())

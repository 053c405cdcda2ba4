"""Whether a reply gives the answer. A reply is hostile until proven otherwise.

Nothing in here raises for any text, and nothing runs on without end: what may, mathematics, is
done by a process that can be ended.
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
"""Characters of a number or of a box that are looked at: no answer has as many."""


class Grade(StrEnum):
    """How replies are graded.

    `math`: mathematical equality, by math-verify (the extra `eval`). `number`: the last number.
    `exact`: the last box, the last line or the whole reply is the answer, case and spaces apart.
    `contains`: the reply has the answer in it as whole words. `auto` takes `number` for answers
    that are one, `math` for those written in mathematics, `contains` for other text.
    """

    AUTO = "auto"
    MATH = "math"
    EXACT = "exact"
    NUMBER = "number"
    CONTAINS = "contains"


def parse_grade(text: str) -> Grade:
    """Return the grade of that name; raise RequestError for other names."""
    if text not in list(Grade):
        raise RequestError(f"unknown grade {text!r}: use one of {', '.join(Grade)}")
    return Grade(text)


def grade_for(answer: str) -> Grade:
    """Return what `auto` means for an answer."""
    if _NUMBER.fullmatch(answer.strip()):
        return Grade.NUMBER
    return Grade.MATH if _MATHS.search(answer) else Grade.CONTAINS


def is_right(reply: str, answer: str, grade: Grade) -> bool:
    """Return whether a reply gives the answer.

    Raises MissingExtraError where math-verify is needed and not installed.
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
    """Compare the last box, or what the library finds in a reply without one."""
    box = boxed(reply)
    if box is not None and _bare(box) == _bare(answer):
        return True
    # The library would join several boxes to one set.
    return judge().equal(reply if box is None else f"{_BOXED}{box}}}", answer)


def boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{…}` of a text, braces inside it in pairs."""
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
    """Return the last number of a text, exactly; None where there is none, or an endless one."""
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if not found or len(found[-1]) > _LONGEST:
        return None
    return Decimal(found[-1].replace(",", ""))


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())

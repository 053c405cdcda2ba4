"""Score replies by their agreement with the large model's own, where no right answers are known.

This is not accuracy: where the large model is wrong, agreeing with it is wrong too.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.answering import Outcome
from splitreason_integrations.evals.grading import Grade, boxed, is_right, last_number
from splitreason_integrations.evals.math_judge import check_judge
from splitreason_integrations.evals.results import Result

_WORD = re.compile(r"\w+")
_SHORT_WORDS = 12
"""Most words of an answer that is compared as a whole or by its number."""


class Likeness(StrEnum):
    """How an answer is compared with the large model's own.

    Attributes:
        MATH: 1 if mathematically equal according to math-verify (extra `eval`), else 0.
        NUMBER: 1 if the last numbers are equal, else 0.
        EXACT: 1 if the texts are equal but for case and white space, else 0.
        WORDS: F1 of the words that both answers share, 0 to 1 (SQuAD, arXiv 1606.05250).

    """

    MATH = "math"
    NUMBER = "number"
    EXACT = "exact"
    WORDS = "words"

    @property
    def meaning(self) -> str:
        """Description for a report."""
        return {
            Likeness.MATH: "mathematically the same answer, by math-verify",
            Likeness.NUMBER: "the same last number",
            Likeness.EXACT: "the same answer but for case and white space",
            Likeness.WORDS: "similarity of the words (F1, as in SQuAD; 100% is the same words)",
        }[self]

    def score(self, answer: str, reference: str) -> float:
        """Return how alike two answers are, in [0, 1]."""
        if answer.split() == reference.split():
            return 1.0
        match self:
            case Likeness.MATH:
                return float(is_right(answer, boxed(reference) or reference, Grade.MATH))
            case Likeness.NUMBER:
                number = last_number(boxed(reference) or reference)
                return float(number is not None and is_right(answer, str(number), Grade.NUMBER))
            case Likeness.EXACT:
                return float(is_right(answer, boxed(reference) or reference, Grade.EXACT))
            case Likeness.WORDS:
                return _shared_words(answer, reference)


def parse_likeness(text: str) -> Likeness | None:
    """Return the likeness with this name; None for `auto`.

    Raises:
        RequestError: There is no such likeness.
        MissingExtraError: math-verify is needed and not installed.

    """
    if text != Grade.AUTO and text not in list(Likeness):
        raise RequestError(
            f"unknown grade {text!r} for prompts without answers: use one of auto, "
            f"{', '.join(Likeness)}"
        )
    if text == Likeness.MATH:
        check_judge()
    return None if text == Grade.AUTO else Likeness(text)


def likeness_for(answers: Sequence[str]) -> Likeness:
    r"""Return the likeness that suits the large model's answers.

    `math` where all are in `\boxed{}`, `number` or `exact` where all are short and do, or do not,
    have a number each, else `words`.
    """
    given = [answer for answer in answers if answer.strip()]
    if given and all(boxed(answer) is not None for answer in given):
        check_judge()
        return Likeness.MATH
    if given and all(len(answer.split()) <= _SHORT_WORDS for answer in given):
        numbers = all(last_number(answer) is not None for answer in given)
        return Likeness.NUMBER if numbers else Likeness.EXACT
    return Likeness.WORDS


def agreeing(result: Result, reference: Result, likeness: Likeness) -> Result:
    """Return a result whose answers are scored by their agreement with those of another."""
    outcomes = tuple(
        replace(one, right=likeness.score(final_text(one), final_text(other)))
        for one, other in zip(result.outcomes, reference.outcomes, strict=True)
    )
    return replace(result, outcomes=outcomes)


def final_text(outcome: Outcome) -> str:
    """Return the answer of the last reply, with the tool calls that it ends in."""
    last = outcome.replies[-1]
    calls = "".join(f"\n{call.name} {call.raw}" for call in last.tool_calls)
    return last.answer + calls


def _shared_words(answer: str, reference: str) -> float:
    words = [Counter(_WORD.findall(text.casefold())) for text in (answer, reference)]
    shared = sum((words[0] & words[1]).values())
    return 2 * shared / max(1, sum(words[0].values()) + sum(words[1].values()))

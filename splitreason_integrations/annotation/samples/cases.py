"""One sample case: question, reasoning, and which of its sentences are hard."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hard:
    """A sentence of a trace that needs more than reading.

    Attributes:
        text: The sentence.

    """

    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """A sample case.

    Attributes:
        question: The question.
        reasoning: Paragraphs of sentences.
        answer: The answer.

    """

    question: str
    reasoning: tuple[tuple[str | Hard, ...], ...]
    answer: str

    def row(self) -> dict[str, Any]:
        """Return the case as a row of a trace file."""
        trace, spans = "", []
        for paragraph in self.reasoning:
            trace += "\n\n" if trace else ""
            for at, sentence in enumerate(paragraph):
                trace += " " if at else ""
                if isinstance(sentence, Hard):
                    spans.append([len(trace), len(trace) + len(sentence.text)])
                    trace += sentence.text
                else:
                    trace += sentence
        return {
            "question": self.question,
            "trace": trace,
            "answer": self.answer,
            "gold_spans": spans,
        }


def usd(cents: int) -> str:
    """Return an amount of money as text, such as $1,234.50."""
    return f"${cents // 100:,}.{cents % 100:02d}"

"""One sample case: what is asked, how it is reasoned about, and which sentences are hard."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hard:
    """A sentence of a trace that takes more than reading."""

    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """A case; the trace is given as paragraphs of sentences."""

    question: str
    reasoning: tuple[tuple[str | Hard, ...], ...]
    answer: str

    def row(self) -> dict[str, Any]:
        """Return the case as a row of a file of traces."""
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
    """Return an amount of money as people write it."""
    return f"${cents // 100:,}.{cents % 100:02d}"

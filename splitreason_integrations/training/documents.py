"""Training documents: token ids with one loss weight each.

The prompt comes from the chat template; only the assistant's text has a weight above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from splitreason_integrations.problems import Kind, Piece, Problem, join
from splitreason_integrations.problems.rendering import AFTER_THOUGHT
from splitreason_integrations.training.vocabulary import END

Weigh = Callable[[Piece], float]
Write = Callable[[int], list[Piece]]


@dataclass(frozen=True)
class Document:
    """One training document.

    Attributes:
        ids: Token ids.
        weights: Loss weight of each token as a target.

    """

    ids: list[int]
    weights: list[float]

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Turn problems and pieces of text into documents."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.end = tokenizer.convert_tokens_to_ids(END)
        backend = tokenizer.backend_tokenizer
        self.encode = lru_cache(maxsize=50_000)(
            lambda text: tuple(backend.encode(text, add_special_tokens=False).ids)
        )

    def prompt_text(self, problem: Problem, turn: int, thoughts: tuple[str, ...] = ()) -> str:
        """Return the prompt of an assistant turn as text."""
        text = self.tokenizer.apply_chat_template(
            problem.conversation(turn, thoughts),
            tools=list(problem.tools) if problem.tools else None,
            tokenize=False,
            add_generation_prompt=True,
        )
        return str(text)

    def add_prompt(self, document: Document, text: str) -> None:
        """Append text with weight 0."""
        ids = self.encode(text)
        document.ids.extend(ids)
        document.weights.extend([0.0] * len(ids))

    def add_pieces(self, document: Document, pieces: list[Piece], weigh: Weigh) -> None:
        """Append the assistant's text, and the end-of-turn token.

        If a result has weight 0, so has the first token after it: only the author of the result can
        know where it ends.
        """
        ends_unweighed = False
        for piece in pieces:
            ids, weight = self.encode(piece.text), weigh(piece)
            document.ids.extend(ids)
            document.weights.extend([weight] * len(ids))
            if ends_unweighed:
                document.weights[-len(ids)] = 0.0
            ends_unweighed = piece.kind is Kind.RESULT and weight == 0
        document.ids.append(self.end)
        document.weights.append(1.0)

    def single(self, problem: Problem, turn: int, pieces: list[Piece], weigh: Weigh) -> Document:
        """Return one assistant turn after its prompt, without earlier reasoning."""
        document = Document([], [])
        self.add_prompt(document, self.prompt_text(problem, turn))
        self.add_pieces(document, pieces, weigh)
        return document

    def whole(self, problem: Problem, write: Write, weigh: Weigh) -> Document:
        """Return all assistant turns in one document, with their reasoning.

        Raises:
            ValueError: The chat template does not extend its own prompt.

        """
        document = Document([], [])
        shown, thoughts = "", tuple[str, ...]()
        for turn in range(len(problem.turns)):
            text = self.prompt_text(problem, turn, thoughts)
            if not text.startswith(shown):
                raise ValueError("the chat template does not extend its own prompt")
            self.add_prompt(document, text[len(shown) :])
            pieces = write(turn)
            self.add_pieces(document, pieces, weigh)
            reply = join(pieces)
            shown = f"{text}{reply}{END}"
            thoughts += (reply.partition(AFTER_THOUGHT)[0],)
        return document


def weigh_all(piece: Piece) -> float:
    """Give every token the same weight."""
    return 1.0

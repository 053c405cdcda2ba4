"""Render a reply as text, in the style of one author.

A rendering is a list of `Piece`s, so that a trainer can weigh steps, spans and routine text
separately.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from splitreason_integrations.problems.arithmetic import Step
from splitreason_integrations.problems.records import ToolCall, Turn

AFTER_THOUGHT = "\n</think>\n\n"
OPEN, CLOSE = "<bigmodel>", "</bigmodel>"


class Writing(Enum):
    """How one step is written."""

    TERSE = "terse"
    EXPANDED = "expanded"
    TAGGED = "tagged"


class Kind(Enum):
    """Kind of a piece of text."""

    ROUTINE = "routine"
    RESULT = "result"
    OPEN = "open"
    SPAN = "span"
    CLOSE = "close"


@dataclass(frozen=True)
class Piece:
    """A piece of a reply.

    Attributes:
        text: The text.
        kind: Kind of the text.
        step: The step that it writes, unless it is routine text.

    """

    text: str
    kind: Kind
    step: Step | None = None


def render(turn: Turn, write: Callable[[Step], Writing]) -> list[Piece]:
    """Write a turn from after `<think>` to its end, without the end-of-turn token."""
    pieces: list[Piece] = []
    for part in turn.reasoning:
        if isinstance(part, str):
            pieces.append(Piece(part, Kind.ROUTINE))
            continue
        pieces.append(Piece(part.question, Kind.ROUTINE))
        pieces += _write_step(part, write(part))
    pieces.append(Piece(f"{AFTER_THOUGHT}{_ending(turn)}", Kind.ROUTINE))
    return _merged(pieces)


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Join adjacent routine pieces, so that they are tokenised as one text."""
    merged: list[Piece] = []
    for piece in pieces:
        if merged and piece.kind is Kind.ROUTINE is merged[-1].kind:
            merged[-1] = Piece(merged[-1].text + piece.text, Kind.ROUTINE)
        else:
            merged.append(piece)
    return merged


def render_small(turn: Turn) -> str:
    """Write a turn tersely, every result in one go."""
    return join(render(turn, lambda _: Writing.TERSE))


def render_large(turn: Turn) -> str:
    """Write a turn with every step expanded."""
    return join(render(turn, lambda _: Writing.EXPANDED))


def render_tagged(turn: Turn, tagged: Callable[[Step], bool]) -> str:
    """Write a turn tersely, with the steps for which `tagged` is true as large-model spans."""
    return join(render(turn, lambda s: Writing.TAGGED if tagged(s) else Writing.TERSE))


def join(pieces: list[Piece]) -> str:
    """Return the pieces as one text."""
    return "".join(piece.text for piece in pieces)


def format_call(call: ToolCall) -> str:
    """Return a tool call in the format of the chat template."""
    body = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def _write_step(step: Step, writing: Writing) -> list[Piece]:
    if writing is Writing.TERSE:
        return [Piece(str(step.result), Kind.RESULT, step)]
    if writing is Writing.EXPANDED:
        return [Piece(step.expansion, Kind.SPAN, step)]
    return [
        Piece(OPEN, Kind.OPEN, step),
        Piece(step.expansion, Kind.SPAN, step),
        Piece(CLOSE, Kind.CLOSE, step),
    ]


def _ending(turn: Turn) -> str:
    return format_call(turn.call) if turn.call else turn.content

"""Tool calls as they grow: the JSON of a call's arguments can be shown while it is written.

What a finished region holds is for `read_calls` to say; a stream that turns out to differ from it
is declared broken.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from splitreason_integrations.records import CallPiece, ToolCall
from splitreason_integrations.text.tool_calls import ARGUMENT_FIELDS, parse_arguments

_CLOSING = {"{": "}", "[": "]"}


@dataclass(slots=True)
class _Frame:
    """An open object or list.

    Attributes:
        kind: The bracket that opened it.
        key: The key whose value comes next, None before a key.

    """

    kind: str
    key: str | None = None


@dataclass(slots=True)
class _Call:
    """A call that is being written.

    Attributes:
        name: The tool's name, None until it is known.
        arguments: The JSON of the arguments so far.
        shown: How many characters of it were shown.

    """

    name: str | None = None
    arguments: str = ""
    shown: int = 0


class CallStream:
    """Reads one region after the other: `feed` its text, then `close` it with its calls."""

    def __init__(self) -> None:
        self._finished = 0
        self._begin()

    def _begin(self) -> None:
        self._calls: list[_Call] = []
        self._frames: list[_Frame] = []
        self._string: str | None = None
        self._escaped = False
        self._depth: int | None = None
        """How many frames were open where the arguments begin; None outside of them."""

    def feed(self, text: str) -> list[CallPiece]:
        """Return what new text of a region adds to its calls, one after the other."""
        for character in text:
            self._step(character)
        pieces: list[CallPiece] = []
        for at, call in enumerate(self._calls):
            if not call.name or not call.arguments:
                break
            new = call.arguments[call.shown :]
            if new:
                name = None if call.shown else call.name
                pieces.append(CallPiece(self._finished + at, name, new))
            call.shown = len(call.arguments)
        return pieces

    def close(self, calls: Sequence[ToolCall]) -> list[CallPiece]:
        """Return the pieces of a region's calls that were not shown before it ended."""
        first, started = self._finished, self._calls
        pieces: list[CallPiece] = []
        for at, call in enumerate(calls):
            own = started[at] if at < len(started) else _Call()
            if not own.shown:
                written = _written(call)
                pieces.append(CallPiece(first + at, call.name, written, call.arguments is None))
            elif call.arguments is None or not _same(own, call):
                pieces.append(CallPiece(first + at, None, "", broken=True))
        pieces += [
            CallPiece(first + at, None, "", broken=True)
            for at in range(len(calls), len(started))
            if started[at].shown
        ]
        self._finished += max(len(calls), sum(call.shown > 0 for call in started))
        self._begin()
        return pieces

    def _step(self, character: str) -> None:
        if self._depth is not None:
            self._calls[-1].arguments += character
        if self._string is not None:
            self._in_string(character)
        elif character == '"':
            self._string = ""
        elif character in _CLOSING:
            self._open(character)
        elif character in "}]":
            self._end()
        elif character == "," and self._frames:
            self._frames[-1].key = None

    def _in_string(self, character: str) -> None:
        if character == '"' and not self._escaped:
            self._end_string(self._string or "")
            self._string = None
            return
        self._escaped = character == "\\" and not self._escaped
        self._string = f"{self._string}{character}"

    def _end_string(self, string: str) -> None:
        frame = self._frames[-1] if self._frames else None
        if frame is None or frame.kind != "{" or self._depth is not None:
            return
        if frame.key is None:
            frame.key = string
        elif frame.key == "name" and self._calls:
            self._calls[-1].name = string

    def _open(self, character: str) -> None:
        parent = self._frames[-1] if self._frames else None
        if self._depth is None:
            if character == "{" and (parent is None or parent.kind == "["):
                self._calls.append(_Call())
            elif character == "{" and parent is not None and parent.key in ARGUMENT_FIELDS:
                self._depth = len(self._frames)
                self._calls[-1].arguments = character
        self._frames.append(_Frame(character))

    def _end(self) -> None:
        if self._frames:
            self._frames.pop()
        if self._depth is not None and len(self._frames) <= self._depth:
            self._depth = None


def _same(own: _Call, call: ToolCall) -> bool:
    return own.name == call.name and parse_arguments(own.arguments) == call.arguments


def _written(call: ToolCall) -> str:
    if call.arguments is None:
        return call.raw
    return json.dumps(dict(call.arguments), ensure_ascii=False)

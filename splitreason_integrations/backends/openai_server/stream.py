"""An answer's lines as events, in the forms in which servers really stream them. No I/O.

Beside the events of the standard these are read: errors as a field of their own, pings, an answer
or an error that is plain JSON, and plain text in place of an answer.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from splitreason_integrations.backends.openai_server.failures import reported

_DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
_TEXT_BYTES = 4096
_PINGS = frozenset({b"ping", b"pong", b"heartbeat", b"keepalive", b"keep-alive", b"keep_alive"})


class Kind(Enum):
    """What an event is.

    Attributes:
        DATA: a part of the answer.
        SIGN: a sign of life: a comment, a ping, empty data.
        ERROR: an error that the server reports, as data or as text.
        DONE: the answer is whole.
        TEXT: the answer is no stream, but this text.

    """

    DATA = auto()
    SIGN = auto()
    ERROR = auto()
    DONE = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of an answer."""

    kind: Kind
    data: Any = None


_SIGN = StreamEvent(Kind.SIGN)


class EventReader:
    """Reads one answer, line by line.

    `most_bytes` bounds what is kept of lines that make an event together; more raises ValueError,
    as data that are no JSON do.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._name = b""
        self._data = bytearray()
        self._document = bytearray()
        self._has_begun = False

    def read(self, line: bytes) -> Iterator[StreamEvent]:
        """Yield the events that a line completes."""
        if not self._has_begun:
            line = line.removeprefix(_BOM)
        field, colon, value = line.partition(b":")
        value = value.strip()
        if not line.strip():
            yield from self._blank()
        elif not colon:
            yield from self._of_document(line)
        elif field == b"data":
            yield from self._of_data(value)
        elif field == b"event":
            self._name = value.lower()
        elif field == b"error":
            yield StreamEvent(Kind.ERROR, _data_or_text(value))
        elif field in (b"", b"id", b"retry"):
            yield _SIGN
        else:
            yield from self._of_document(line)
        self._has_begun = True

    def end(self) -> Iterator[StreamEvent]:
        """Yield what the answer is that ends here, where it is no stream of events."""
        text, self._document = bytes(self._document), bytearray()
        if not text.strip():
            return
        data = _data_or_text(text)
        if isinstance(data, str):
            yield StreamEvent(Kind.TEXT, data)
            return
        yield from _of(data)
        if isinstance(data, Mapping) and data.get("choices"):
            yield StreamEvent(Kind.DONE)

    def _of_data(self, value: bytes) -> Iterator[StreamEvent]:
        if value == _DONE:
            yield StreamEvent(Kind.DONE)
        elif self._name == b"error":
            yield StreamEvent(Kind.ERROR, _data_or_text(value))
        elif not value or {self._name, value.strip(b'"').lower()} & _PINGS:
            yield _SIGN
        elif self._data:
            self._keep(self._data, value)
        else:
            try:
                data = json.loads(value)
            except (ValueError, RecursionError):
                # The rest may stand in lines of its own.
                self._keep(self._data, value)
                return
            yield from _of(data)

    def _of_document(self, line: bytes) -> Iterator[StreamEvent]:
        """Read a line of JSON, or of text, that belongs to no event."""
        begins = line.lstrip()[:1] in (b"{", b"[")
        if not self._document and begins:
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):
                pass
            else:
                yield from _of(data)
                if isinstance(data, Mapping) and not self._has_begun and _is_whole(data):
                    yield StreamEvent(Kind.DONE)
                return
        is_text = not (self._document or line).lstrip().startswith((b"{", b"["))
        if not (is_text and len(self._document) > _TEXT_BYTES):
            self._keep(self._document, line.strip())

    def _blank(self) -> Iterator[StreamEvent]:
        self._name = b""
        if not self._data:
            return
        whole, self._data = bytes(self._data), bytearray()
        yield from _of(json.loads(whole))

    def _keep(self, kept: bytearray, more: bytes) -> None:
        if len(kept) + len(more) > self._most_bytes:
            raise ValueError("lines that belong together are too long")
        kept += more + b"\n"


def _of(data: Any) -> Iterator[StreamEvent]:
    """Yield an event for each choice that data hold; what holds nothing is a sign of life."""
    if (error := reported(data)) is not None:
        yield StreamEvent(Kind.ERROR, error)
        return
    if data is None or data == {} or (isinstance(data, Mapping) and data.get("type") == "ping"):
        yield _SIGN
        return
    choices = data.get("choices") if isinstance(data, Mapping) else None
    if isinstance(choices, list) and len(choices) > 1:
        for choice in choices:
            yield StreamEvent(Kind.DATA, {**data, "choices": [choice]})
        return
    yield StreamEvent(Kind.DATA, data)


def _is_whole(data: Mapping[str, Any]) -> bool:
    """Return whether data are a whole answer, not a part of one."""
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    ends = isinstance(first, Mapping) and first.get("finish_reason") is not None
    return ends or (isinstance(first, Mapping) and "message" in first)


def _data_or_text(value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value.decode(errors="replace")

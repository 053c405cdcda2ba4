"""One line of the audit log, and the chain that joins it to the line before.

A line is the canonical JSON of its record: keys sorted, no spaces, ASCII. It ends in a line break,
and its `hash` covers everything else in it, the hash of the line before included.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self

from splitreason_integrations.errors import AuditError

GENESIS = "0" * 64
"""The previous hash of the first record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the log.

    Attributes:
        sequence: number of the line, from 1.
        time_utc: ISO 8601 with microseconds.
        kind: an event's name, `request.started`, `request.resumed`, `request.waiting`,
            `request.finished`, `request.failed`, `request.cancelled` or `repaired`.
        request_id: the request; None for a record about the log itself.
        data: facts of the record as plain data.
        previous: hash of the line before.
        hash: SHA-256 of everything else in the line.

    """

    sequence: int
    time_utc: str
    kind: str
    request_id: str | None
    data: Mapping[str, Any]
    previous: str
    hash: str

    @classmethod
    def after(
        cls, last: "AuditRecord | None", *, kind: str, request_id: str | None, data: Any, time: str
    ) -> Self:
        """Return the record that follows `last`, or the first one; `data` is plain."""
        facts = {
            "sequence": 1 if last is None else last.sequence + 1,
            "time_utc": time,
            "kind": kind,
            "request_id": request_id,
            "data": data,
            "previous": GENESIS if last is None else last.hash,
        }
        return cls(**facts, hash=sha256(canonical(facts)))

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Return the record of a line without its line break; raise AuditError if it is damaged."""
        try:
            facts = json.loads(line)
            written_so = canonical(facts) == line
        except (ValueError, RecursionError) as error:
            raise AuditError("it is not JSON") from error
        if not isinstance(facts, dict) or facts.keys() != {field.name for field in fields(cls)}:
            raise AuditError("it does not have the fields of a record")
        if not written_so:
            raise AuditError("it is not written as a record is")
        record = cls(**facts)
        del facts["hash"]
        if sha256(canonical(facts)) != record.hash:
            raise AuditError("its hash does not fit what it says")
        return record

    def facts(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def line(self) -> bytes:
        """Return the record as a line of the file, with its line break."""
        return canonical(self.facts()) + b"\n"


def canonical(facts: Mapping[str, Any]) -> bytes:
    """Return plain data in its canonical form."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def plain(value: Any) -> Any:
    """Return a value as JSON data; types that JSON has not become text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(one) for one in value]
    return str(value)


def now_utc() -> str:
    """Return the current time in the format of records."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""One line of the audit log, and the chain that joins it to the line before.

A line is the canonical JSON of its record: keys sorted, no spaces, ASCII. It ends in a line break,
and its `hash` covers everything else in it, the hash of the line before included.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from splitreason_integrations.errors import AuditError

GENESIS = "0" * 64
"""The previous hash of the first record."""

_HASH = b',"hash":"'
_HASH_END = len(_HASH) + 64
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_DECODE = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the log.

    Attributes:
        sequence: number of the line, from 1.
        time_utc: ISO 8601 with microseconds.
        kind: an event's name, `request.started`, `request.resumed`, `request.waiting`,
            `request.finished`, `request.failed`, `request.cancelled`, or one about the log itself:
            `repaired`, `rotated`, `broken` or `signed`.
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
            facts = _DECODE(line.decode("ascii"))
            written_so = canonical(facts) == line
        except (ValueError, RecursionError) as error:
            raise AuditError("it is not JSON") from error
        if not isinstance(facts, dict) or facts.keys() != {field.name for field in fields(cls)}:
            raise AuditError("it does not have the fields of a record")
        if not written_so:
            raise AuditError("it is not written as a record is")
        if not _has_types(facts):
            raise AuditError("a field of it has the wrong type")
        if not hash_fits(line):
            raise AuditError("its hash does not fit what it says")
        return cls(**facts)

    @classmethod
    def without_data(cls, line: bytes) -> Self:
        """Return the record of a line with empty data, which is not read; its hash is checked.

        Raises AuditError if the line is damaged.
        """
        if not hash_fits(line):
            raise AuditError("its hash does not fit what it says")
        try:
            facts = _DECODE("{" + line[line.rfind(_HASH) + 1 :].decode("ascii"))
            fitting = facts.keys() == _BEHIND_DATA and _has_types(facts)
        except (ValueError, RecursionError) as error:
            raise AuditError("it is not JSON") from error
        if not fitting:
            raise AuditError("it does not have the fields of a record")
        return cls(**facts, data={})

    def facts(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def line(self) -> bytes:
        """Return the record as a line of the file, with its line break."""
        return canonical(self.facts()) + b"\n"


_BEHIND_DATA = {field.name for field in fields(AuditRecord)} - {"data"}


def canonical(facts: Mapping[str, Any]) -> bytes:
    """Return plain data in its canonical form."""
    return _ENCODE(facts).encode()


def hash_in(line: bytes) -> str:
    """Return the text in the place of a line that its hash has.

    The fields behind the hash are texts and a number, and within a text quotes are escaped: the
    last place that looks like the hash's is the hash's.
    """
    at = line.rfind(_HASH) + len(_HASH)
    return line[at : at + 64].decode("ascii", "replace")


def hash_fits(line: bytes) -> bool:
    """Return whether a line's hash is that of everything else in it, without reading its data."""
    at = line.rfind(_HASH)
    end = at + _HASH_END
    if at < 0 or line[end : end + 1] != b'"':
        return False
    covered = hashlib.sha256(line[:at])
    covered.update(line[end + 1 :])
    return covered.hexdigest() == hash_in(line)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def now_utc() -> str:
    """Return the current time in the format of records."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _has_types(facts: Mapping[str, Any]) -> bool:
    """Return whether the fields of a record have their types; `data` may be any plain data."""
    request_id = facts["request_id"]
    texts = (facts[name] for name in ("time_utc", "kind", "previous", "hash"))
    return (
        all(isinstance(text, str) for text in texts)
        and type(facts["sequence"]) is int
        and (request_id is None or isinstance(request_id, str))
    )

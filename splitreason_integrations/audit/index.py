"""Where each request's records are in a file of the log, so that few lines are read.

The index lies beside its file as `<file>.index`. It is made from the file, is continued when the
file has grown, and is made anew when it does not fit the file. Nothing is verified by it: `verify`
reads the log alone.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.audit.checking import Chain, DamagedLineError, checked
from splitreason_integrations.audit.parts import Part
from splitreason_integrations.audit.record import GENESIS, AuditRecord, hash_fits, hash_in
from splitreason_integrations.errors import AuditError

_VERSION = 1


@dataclass(slots=True)
class PartIndex:
    """The requests of one file of a log, as far as its lines are whole.

    Attributes:
        inode: the file's number on its file system.
        changed_ns: when it was changed last.
        size: its size in bytes at that time.
        indexed: bytes of the lines that are indexed.
        last_start: where the last of them begins.
        lines: how many there are.
        first: number of the first record, and hash of the one before.
        last: number and hash of the last record.
        requests: for each request the time of its first record, and where its records begin.
        others: where records of no request begin.
        problem: what is wrong with the first line that is not indexed; empty if nothing is.
        torn: whether that line is the last one and cut off.

    """

    inode: int
    changed_ns: int = 0
    size: int = 0
    indexed: int = 0
    last_start: int = 0
    lines: int = 0
    first: tuple[int, str] = (1, GENESIS)
    last: tuple[int, str] = (0, GENESIS)
    requests: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)
    problem: str = ""
    torn: bool = False

    def extend(self, part: Part) -> None:
        """Index the lines that were appended since."""
        status = os.fstat(part.file.fileno())
        self.changed_ns, self.size = status.st_mtime_ns, part.size
        self.problem, self.torn = "", False
        chain = Chain.behind(*self.last)
        try:
            for line in part.lines(self.indexed, self.lines + 1):
                if line.number == 1 and line.content:
                    chain = self._begin(line.content)
                record = checked(line, chain, AuditRecord.without_data)
                self._add(record, line.start)
                self.indexed = line.start + len(line.content)
        except DamagedLineError as error:
            self.problem, self.torn = error.why, error.torn

    def _begin(self, content: bytes) -> Chain:
        """Return the chain that the first line goes on with, wherever it comes from."""
        with suppress(AuditError):
            first = AuditRecord.without_data(content[:-1])
            self.first = (first.sequence, first.previous)
        return Chain.behind(self.first[0] - 1, self.first[1])

    def _add(self, record: AuditRecord, start: int) -> None:
        self.last, self.last_start = (record.sequence, record.hash), start
        self.lines += 1
        if record.request_id is None:
            self.others.append(start)
        else:
            self.requests.setdefault(record.request_id, (record.time_utc, []))[1].append(start)

    def fits(self, part: Part) -> bool:
        """Return whether this is the index of a file as it is, or as it was before it grew."""
        status = os.fstat(part.file.fileno())
        if status.st_ino != self.inode or self.indexed > part.size or self.size > part.size:
            return False
        if part.size == self.size and status.st_mtime_ns != self.changed_ns:
            return False
        if not self.lines:
            return True
        content = os.pread(part.file.fileno(), self.indexed - self.last_start, self.last_start)
        line = content[:-1]
        return content.endswith(b"\n") and hash_in(line) == self.last[1] and hash_fits(line)


def index_of(part: Part) -> PartIndex:
    """Return the index of a file, read, continued or made anew; keep it beside the file."""
    index = _read(part)
    if index is None or not index.fits(part):
        index = PartIndex(os.fstat(part.file.fileno()).st_ino)
    if index.size != part.size or not index.size:
        index.extend(part)
        _write(part, index)
    return index


def records_at(part: Part, starts: Iterable[int]) -> list[AuditRecord]:
    """Return the records that begin at these places; raise AuditError where one is damaged."""
    records = []
    for start in starts:
        part.file.seek(start)
        records.append(AuditRecord.from_line(part.file.readline(part.size - start)[:-1]))
    return records


def _read(part: Part) -> PartIndex | None:
    """Return the index beside a file; None where there is none, or it is damaged."""
    try:
        check, _, content = _path(part).read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != check:
            return None
        data = json.loads(content)
        if data.pop("version") != _VERSION:
            return None
        return PartIndex(**{**data, "first": tuple(data["first"]), "last": tuple(data["last"])})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(part: Part, index: PartIndex) -> None:
    """Keep an index beside its file; where that cannot be, it is made anew the next time."""
    content = json.dumps(_data(index), separators=(",", ":")).encode()
    path = _path(part)
    made = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            os.replace(made, path)
        finally:
            made.unlink(missing_ok=True)


def _data(index: PartIndex) -> dict[str, Any]:
    return {"version": _VERSION, **{name: getattr(index, name) for name in index.__slots__}}


def _path(part: Part) -> Any:
    return part.path.with_name(part.path.name + ".index")

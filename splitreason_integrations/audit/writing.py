"""One process's writing of a log: mended, rotated, signed, and checked for changes from outside.

Its methods are called by one thread at a time; other processes are kept out by the file's lock.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from splitreason_integrations.audit.files import append_synced, cut_torn_tail, locked, read_tail
from splitreason_integrations.audit.parts import full_parts, set_aside, set_full
from splitreason_integrations.audit.position import IN_WORDS, Change, Position
from splitreason_integrations.audit.record import AuditRecord, now_utc, sha256
from splitreason_integrations.audit.signing import SigningKey, signature_data
from splitreason_integrations.errors import AuditError

OnBreak: TypeAlias = Literal["record", "new_file", "error"]

LARGE_BYTES = 1_000_000


class Entry(Protocol):
    """What a record is made of."""

    kind: str
    request_id: str | None
    data: Any
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """How a log is written; see AuditLog."""

    on_break: OnBreak = "record"
    rotate_mb: float | None = None
    rotate_daily: bool = False
    anchor_every: int = 100
    keys: tuple[SigningKey, ...] = ()


class LogWriter:
    """Appends to the log at `path`.

    Attributes:
        head: the last record that was anchored, or was due to be where there is no key.

    """

    def __init__(self, path: Path, settings: WriterSettings) -> None:
        self.path = path
        self.head: AuditRecord | None = None
        self._settings = settings
        self._position: Position | None = None
        self._change: Change | None = None
        self._aside: Path | None = None

    def begin(self) -> None:
        """Create the file if there is none; read its end, and mend it if it is torn."""
        with locked(self.path, create=True) as descriptor:
            last = self._end_of(descriptor)
            if last is not None:
                self._position = Position.after(descriptor, last, last.line())

    def commit(
        self, take: Callable[[], Sequence[Entry]], *, anchor: bool = False
    ) -> list[AuditRecord]:
        """Append what `take` returns once the file is locked; return those records, on disk.

        With `anchor` the head is signed even if that is not due.

        Raises:
            AuditError: they cannot be written, or the log is not what this process has written.

        """
        while True:
            with locked(self.path, create=True) as descriptor:
                if self._is_put_aside(descriptor):
                    continue
                last = self._end_of(descriptor)
                if self._is_full(descriptor, last):
                    set_full(self.path)
                    continue
                return self._append(descriptor, take(), last, anchor=anchor)

    def _append(
        self,
        descriptor: int,
        entries: Sequence[Entry],
        last: AuditRecord | None,
        *,
        anchor: bool,
    ) -> list[AuditRecord]:
        head = self.head
        records: list[AuditRecord] = []
        lines: list[bytes] = []
        for number, entry in enumerate(entries, start=1):
            record = AuditRecord.after(
                last,
                kind=entry.kind,
                request_id=entry.request_id,
                data=entry.data,
                time=entry.time,
            )
            last = record
            records.append(record)
            lines.append(record.line())
            if self._is_due(record, head) or (anchor and number == len(entries)):
                last = head = self._signed(record, lines)
        if anchor and not entries and last is not None:
            head = last = self._signed(last, lines)
        append_synced(descriptor, b"".join(lines))
        self.head = head
        if last is not None and lines:
            self._position = Position.after(descriptor, last, lines[-1])
        return records

    def _is_due(self, last: AuditRecord, head: AuditRecord | None) -> bool:
        return head is None or last.sequence - head.sequence >= self._settings.anchor_every

    def _signed(self, last: AuditRecord, lines: list[bytes]) -> AuditRecord:
        """Return the record that signs `last`; without a key, `last` itself."""
        if not self._settings.keys:
            return last
        data = signature_data(self._settings.keys[0], last, self._settings.anchor_every)
        signed = _about_log(last, "signed", data)
        lines.append(signed.line())
        return signed

    def _end_of(self, descriptor: int) -> AuditRecord | None:
        """Return the record to go on from; records about a torn, broken or new file come first."""
        known = self._position
        if known and not self._change and known.is_end_of(descriptor):
            return known.last
        tail = read_tail(descriptor)
        full = [] if tail.last else full_parts(self.path)
        last: AuditRecord | None
        if tail.last:
            last = self._read(tail.last, self.path)
        elif self._change and known:
            last = known.last
        else:
            last = self._last_of_file(full[-1]) if full else None
        if tail.torn:
            torn = cut_torn_tail(descriptor, self.path)
            data = {"torn_bytes": len(torn), "torn_sha256": sha256(torn)}
            last = self._noted(descriptor, last, "repaired", data)
        if self._change and known:
            last = self._noted(descriptor, last, "broken", self._break(known, last, descriptor))
            self._change = self._aside = None
        elif full and not tail.torn:
            last = self._noted(descriptor, last, "rotated", {"after": full[-1].name})
        return last

    def _is_put_aside(self, descriptor: int) -> bool:
        """Compare the file with what this process has written; return whether it was put aside."""
        known = self._position
        if known is None:
            return False
        change = known.change(descriptor, self.path)
        if self._aside is None:
            self._change = change
        if self._change is None:
            return False
        if self._settings.on_break == "error":
            raise AuditError(
                f"the audit log {self.path} is not what this process has written: "
                f"{IN_WORDS[self._change]}, and record {known.last.sequence} with hash "
                f"{known.last.hash} is missing or elsewhere; keep what is there, put the file back "
                "and start the program anew"
            )
        if self._settings.on_break == "record" or self._goes_on(descriptor, known.last):
            return False
        self._aside = set_aside(self.path)
        return True

    def _goes_on(self, descriptor: int, last: AuditRecord) -> bool:
        """Return whether a file is empty, or another process began it when it missed its own."""
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            line = file.readline()
        try:
            first = AuditRecord.from_line(line[:-1]) if line else None
        except AuditError:
            return False
        return first is None or (first.kind == "broken" and first.time_utc >= last.time_utc)

    def _break(self, known: Position, last: AuditRecord | None, descriptor: int) -> dict[str, Any]:
        return {
            "change": self._change,
            "expected_sequence": known.last.sequence,
            "expected_hash": known.last.hash,
            "found_sequence": None if last is None else last.sequence,
            "found_hash": None if last is None else last.hash,
            "in_place": known.stands_in(descriptor),
            "put_aside_as": None if self._aside is None else self._aside.name,
        }

    def _is_full(self, descriptor: int, last: AuditRecord | None) -> bool:
        if last is None or last.kind == "rotated":
            return False
        limit, size = self._settings.rotate_mb, os.fstat(descriptor).st_size
        if limit is not None and size >= limit * LARGE_BYTES:
            return True
        return self._settings.rotate_daily and now_utc()[:10] > last.time_utc[:10]

    def _noted(
        self, descriptor: int, last: AuditRecord | None, kind: str, data: dict[str, Any]
    ) -> AuditRecord:
        """Append a record about the log itself."""
        record = _about_log(last, kind, data)
        line = record.line()
        append_synced(descriptor, line)
        self._position = Position.after(descriptor, record, line)
        return record

    def _last_of_file(self, path: Path) -> AuditRecord | None:
        with path.open("rb") as file:
            line = read_tail(file.fileno()).last
        return self._read(line, path) if line else None

    def _read(self, line: bytes, path: Path) -> AuditRecord:
        try:
            return AuditRecord.from_line(line)
        except AuditError as error:
            raise AuditError(
                f"the audit log {path} is damaged in its last line: {error}; see "
                "'splitreason audit verify', keep that file aside and begin a new one"
            ) from error


def _about_log(last: AuditRecord | None, kind: str, data: dict[str, Any]) -> AuditRecord:
    return AuditRecord.after(last, kind=kind, request_id=None, data=data, time=now_utc())

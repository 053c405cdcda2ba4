"""Appending to the audit log: an append returns once its record is on the disk.

Concurrent appends share one write and one wait for the disk: whoever gets the file's lock first
commits all that are waiting.
"""

import os
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from splitreason_integrations.audit.files import (
    append_synced,
    cut_torn_tail,
    locked,
    read_tail,
)
from splitreason_integrations.audit.record import AuditRecord, now_utc, plain, sha256
from splitreason_integrations.errors import AuditError


@dataclass(slots=True, eq=False)
class _Append:
    """An append under way; it is done once it has a record or an error."""

    kind: str
    request_id: str | None
    data: Any
    time: str = field(default_factory=now_utc)
    process: int = field(default_factory=os.getpid)
    record: AuditRecord | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        """Whether it is on disk or has failed."""
        return self.record is not None or self.error is not None


class AuditLog:
    """An append-only log at `path`, created with mode 0600; safe among threads and processes.

    With `content` the texts of messages and replies are recorded, so that a reply can be shown and
    replayed; without it their lengths and SHA-256 are. A torn last line, which a power cut leaves,
    is moved to `<path>.torn` when the log is opened or next written, and a record says so.
    Raises AuditError where the file cannot be written or locked, or where its last line is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, content: bool = False) -> None:
        self.path = Path(path)
        self.content = content
        self._waiting: deque[_Append] = deque()
        self._turns: dict[int, threading.Lock] = {}
        with locked(self.path, create=True) as descriptor:
            self._last_record(descriptor)

    def __repr__(self) -> str:
        return f"AuditLog({str(self.path)!r}, content={self.content})"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(AuditLog, content=self.content), (self.path,)

    def append(self, kind: str, data: Any, *, request_id: str | None = None) -> AuditRecord:
        """Record plain data; return when it is on disk. Raise AuditError if it cannot be."""
        return self._settle(self._enqueue(kind, data, request_id))

    async def record(self, kind: str, data: Any, *, request_id: str | None = None) -> AuditRecord:
        """Append from an event loop, which goes on meanwhile. A begun append is not cancelled."""
        waiting = self._enqueue(kind, data, request_id)
        return await anyio.to_thread.run_sync(self._settle, waiting)

    def _enqueue(self, kind: str, data: Any, request_id: str | None) -> _Append:
        waiting = _Append(kind, request_id, plain(data))
        self._waiting.append(waiting)
        return waiting

    def _settle(self, mine: _Append) -> AuditRecord:
        """Return once `mine` is committed, by another thread or by this one."""
        with self._turn():
            if not mine.settled:
                self._commit_all(mine)
        if mine.record is None:
            raise AuditError(str(mine.error)) from mine.error
        return mine.record

    def _turn(self) -> threading.Lock:
        """Return the lock of this process: a forked one must not inherit a lock that is held."""
        return self._turns.setdefault(os.getpid(), threading.Lock())

    def _commit_all(self, mine: _Append) -> None:
        """Write all waiting appends and set their records or errors."""
        batch = [mine]
        try:
            with locked(self.path, create=True) as descriptor:
                batch = self._take()
                records = self._chain(batch, self._last_record(descriptor))
                append_synced(descriptor, b"".join(record.line() for record in records))
        except BaseException as error:
            if mine in self._waiting:
                self._waiting.remove(mine)
            for one in batch:
                one.error = error
            raise
        for one, record in zip(batch, records, strict=True):
            one.record = record

    def _take(self) -> list[_Append]:
        """Return the waiting appends of this process; a forked copy's others are its parent's."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        return [one for one in taken if one.process == os.getpid()]

    def _chain(self, batch: list[_Append], last: AuditRecord | None) -> list[AuditRecord]:
        records = []
        for one in batch:
            last = AuditRecord.after(
                last, kind=one.kind, request_id=one.request_id, data=one.data, time=one.time
            )
            records.append(last)
        return records

    def _last_record(self, descriptor: int) -> AuditRecord | None:
        """Return the last record; cut off a torn tail first and record that."""
        tail = read_tail(descriptor)
        last = self._read(tail.last) if tail.last else None
        if not tail.torn:
            return last
        torn = cut_torn_tail(descriptor, self.path)
        data = {"torn_bytes": len(torn), "torn_sha256": sha256(torn)}
        repaired = AuditRecord.after(
            last, kind="repaired", request_id=None, data=data, time=now_utc()
        )
        append_synced(descriptor, repaired.line())
        return repaired

    def _read(self, line: bytes) -> AuditRecord:
        try:
            return AuditRecord.from_line(line)
        except AuditError as error:
            raise AuditError(
                f"the audit log {self.path} is damaged in its last line: {error}; see "
                "'splitreason audit verify', keep that file aside and begin a new one"
            ) from error

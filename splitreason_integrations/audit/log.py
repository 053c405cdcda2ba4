"""Appending to the audit log: an append returns once its record is on the disk.

Concurrent appends share one write and one wait for the disk: whoever gets the file's lock first
commits all that are waiting.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import anyio.to_thread

from splitreason_integrations.audit.plain_data import plain
from splitreason_integrations.audit.record import AuditRecord, now_utc
from splitreason_integrations.audit.signing import AuditKey, read_keys
from splitreason_integrations.audit.writing import LogWriter, OnBreak, WriterSettings
from splitreason_integrations.checks import check_flag, check_number
from splitreason_integrations.errors import AuditError, ConfigurationError
from splitreason_integrations.processes.environment import AUDIT_KEY


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

    A torn last line, which a power cut leaves, is moved to `<path>.torn` when the log is opened or
    next written, and a record says so.

    Args:
        path: the file.
        content: record the texts of messages and replies, so that a reply can be shown and
            replayed; otherwise their lengths and SHA-256.
        on_break: what to do when the file was deleted, renamed, replaced or cut off under a
            running program. "record": a record says so, and the log goes on at `path`. "new_file":
            the file at `path` is kept as `<path>.broken-1`, and the log goes on in a new file.
            "error": every append fails. A new file goes on from the record before.
        rotate_mb: size in MB at which a file is full. It is kept as `<path>.0001` and so on.
        rotate_daily: whether a file is full at the end of a day (UTC).
        key: signs the chain: a secret text (HMAC-SHA-256), or an Ed25519 key as PEM. Of several
            the first one signs. By default the environment variable `SPLITREASON_AUDIT_KEY`. It is
            neither shown nor pickled.
        signed: True requires a key.
        anchor_every: after how many records the chain is signed and its head sent.
        send_head: called with the record at the head, signed if there is a key, after the first
            record and after every `anchor_every` ones, in the thread that appends. What it raises
            fails that append; its record is on disk all the same, and a later head is sent.

    Raises:
        AuditError: the file cannot be written or locked, or its last line is damaged.
        ConfigurationError: an argument is not what it may be, or a key is missing.

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        content: bool = False,
        on_break: OnBreak = "record",
        rotate_mb: float | None = None,
        rotate_daily: bool = False,
        key: AuditKey = None,
        signed: bool = False,
        anchor_every: int = 100,
        send_head: Callable[[AuditRecord], object] | None = None,
    ) -> None:
        self.path = Path(path)
        self.content = content
        keys = read_keys(key)
        self.options = options_of(
            on_break=on_break,
            rotate_mb=rotate_mb,
            rotate_daily=rotate_daily,
            signed=signed or key is not None,
            anchor_every=anchor_every,
        )
        if signed and not keys:
            raise ConfigurationError(
                f"the audit log {self.path} is to be signed: give key=, or set {AUDIT_KEY.name}"
            )
        if keys and not keys[0].can_sign:
            raise ConfigurationError(
                f"the key of the audit log {self.path} is a public one, which only checks; give "
                "the private key to write"
            )
        self._keys, self._send_head, self._sent = keys, send_head, 0
        self._writer = LogWriter(
            self.path,
            WriterSettings(
                on_break=on_break,
                rotate_mb=rotate_mb,
                rotate_daily=rotate_daily,
                anchor_every=anchor_every,
                keys=keys,
            ),
        )
        self._waiting: deque[_Append] = deque()
        self._turns: dict[int, threading.Lock] = {}
        self._writer.begin()

    def __repr__(self) -> str:
        more = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"AuditLog({str(self.path)!r}, content={self.content}{more})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again(), (self.path,)

    def __copy__(self) -> "AuditLog":
        return self._again(key=self._keys if self.options.get("signed") else None)(self.path)

    def __deepcopy__(self, memo: Any) -> "AuditLog":
        return self.__copy__()

    def _again(self, **more: Any) -> "partial[AuditLog]":
        """Return what opens this log again, without its key."""
        given = {**self.options, **more}
        if self._send_head is not None:
            given["send_head"] = self._send_head
        return partial(AuditLog, content=self.content, **given)

    def append(self, kind: str, data: Any, *, request_id: str | None = None) -> AuditRecord:
        """Record plain data; return when it is on disk. Raise AuditError if it cannot be."""
        return self._settle(self._enqueue(kind, data, request_id))

    async def record(self, kind: str, data: Any, *, request_id: str | None = None) -> AuditRecord:
        """Append from an event loop, which goes on meanwhile. A begun append is not cancelled."""
        waiting = self._enqueue(kind, data, request_id)
        return await anyio.to_thread.run_sync(self._settle, waiting)

    def anchor(self) -> AuditRecord | None:
        """Sign the head now and send it, as at a program's end; None for an empty log.

        Raises:
            AuditError: the log cannot be written, or the head cannot be sent.

        """
        with self._turn():
            self._writer.commit(list, anchor=True)
        self._notify()
        return self._writer.head

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
        self._notify()
        return mine.record

    def _turn(self) -> threading.Lock:
        """Return the lock of this process: a forked one must not inherit a lock that is held."""
        return self._turns.setdefault(os.getpid(), threading.Lock())

    def _commit_all(self, mine: _Append) -> None:
        """Write all waiting appends and set their records or errors."""
        batch = [mine]

        def take() -> list[_Append]:
            batch[:] = self._take()
            return batch

        try:
            records = self._writer.commit(take)
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

    def _notify(self) -> None:
        """Send the head if there is a new one."""
        head = self._writer.head
        if self._send_head is None or head is None or head.sequence <= self._sent:
            return
        before, self._sent = self._sent, head.sequence
        try:
            self._send_head(head)
        except Exception as error:
            self._sent = before
            raise AuditError(
                f"send_head failed for record {head.sequence} of the audit log {self.path}: "
                f"{type(error).__name__}: {error}; catch its errors there if requests should go on"
            ) from error


def options_of(**given: Any) -> dict[str, Any]:
    """Return the options of a log that are not the defaults, checked; keys are none of them.

    Raises:
        ConfigurationError: one is not what it may be.

    """
    if given["on_break"] not in get_args(OnBreak):
        raise ConfigurationError(
            f"on_break must be one of {', '.join(get_args(OnBreak))}, got {given['on_break']!r}"
        )
    if given["rotate_mb"] is not None:
        check_number("rotate_mb", given["rotate_mb"], least=0.01)
    check_flag("rotate_daily", given["rotate_daily"])
    check_flag("signed", given["signed"])
    check_number("anchor_every", given["anchor_every"], least=1, whole=True)
    return {name: value for name, value in given.items() if value != _DEFAULTS[name]}


_DEFAULTS = {
    "on_break": "record",
    "rotate_mb": None,
    "rotate_daily": False,
    "signed": False,
    "anchor_every": 100,
}
OPTIONS = tuple(_DEFAULTS)
"""Options of a log besides its path, its content, its keys and `send_head`."""

"""The log's file: locking among threads and processes, reading its tail, writing to disk."""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from splitreason_integrations.errors import AuditError

_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file.

    Attributes:
        last: the last whole line, without its line break.
        torn: the bytes after the last line break.

    """

    last: bytes
    torn: bytes


@contextmanager
def locked(path: Path, *, create: bool = False) -> Generator[int, None, None]:
    """Open a log for appending and hold its lock, among threads too; raise AuditError if neither.

    Each holder opens the file anew. The lock belongs to the opened file, so it also excludes other
    threads of this process and forked processes.
    """
    done = False
    while not done:
        descriptor = _open(path, create=create)
        try:
            with _lock(descriptor, path, shared=False):
                # While this waited for the lock, the file may have been rotated.
                done = is_at(path, descriptor)
                if done:
                    if os.fstat(descriptor).st_size == 0:
                        sync_folder(path.parent)
                    yield descriptor
        finally:
            os.close(descriptor)


def is_at(path: Path, descriptor: int) -> bool:
    """Return whether the file at a path is the opened one."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def read_tail(descriptor: int) -> Tail:
    """Return the end of a file, reading only as much as needed."""
    size, span = os.fstat(descriptor).st_size, _TAIL_BYTES
    while True:
        start = max(0, size - span)
        lines = os.pread(descriptor, size - start, start).split(b"\n")
        if start == 0 or len(lines) > 2:
            return Tail(last=lines[-2] if len(lines) > 1 else b"", torn=lines[-1])
        span *= 4


def append_synced(descriptor: int, content: bytes) -> None:
    """Append bytes and wait for the disk; on failure the file is unchanged.

    Raises:
        AuditError: the disk is full or fails.

    """
    size = os.fstat(descriptor).st_size
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        sync(descriptor)
    except BaseException as error:
        os.ftruncate(descriptor, size)
        if isinstance(error, OSError):
            raise AuditError(
                f"the audit log cannot be written: {error.strerror}; make room on its disk"
            ) from error
        raise


def cut_torn_tail(descriptor: int, path: Path) -> bytes:
    """Move the bytes after the last line break to `<path>.torn`; return them."""
    torn = read_tail(descriptor).torn
    if torn:
        aside = path.with_name(path.name + ".torn")
        kept = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            append_synced(kept, torn + b"\n")
        finally:
            os.close(kept)
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(torn))
        sync(descriptor)
    return torn


def sync(descriptor: int) -> None:
    """Return once the file's bytes are on the disk."""
    import fcntl

    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS keeps fsynced bytes in the disk's own cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def size_at_rest(descriptor: int, path: Path) -> int:
    """Return how many bytes a log has while nobody writes to it."""
    with _lock(descriptor, path, shared=True):
        return os.fstat(descriptor).st_size


def _open(path: Path, *, create: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise AuditError(
            f"the audit log {path} cannot be opened: {error.strerror}; name a file that this "
            "process may write, in a folder that exists"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AuditError(f"the audit log {path} is not a regular file; name one")
    return descriptor


@contextmanager
def _lock(descriptor: int, path: Path, *, shared: bool) -> Generator[None, None, None]:
    try:
        import fcntl
    except ImportError as error:
        raise AuditError(
            "an audit log needs the file locks of a POSIX system, such as Linux or macOS; leave "
            "audit= unset here"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError as error:
        raise AuditError(
            f"the audit log {path} cannot be locked: {error.strerror}; put it on a file system "
            "with file locks"
        ) from error
    try:
        yield
    finally:
        # Closing is not enough: a process forked meanwhile has a copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Where a process has last written its log, and whether that still stands there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from splitreason_integrations.audit.parts import full_parts
from splitreason_integrations.audit.record import AuditRecord

Change: TypeAlias = Literal["moved", "replaced", "truncated", "changed"]
"""What became of a file between two appends of one process."""

IN_WORDS: dict[Change, str] = {
    "moved": "the file was deleted or renamed",
    "replaced": "another file took its place",
    "truncated": "the file was cut off",
    "changed": "the last record was changed",
}

_ENDING_BYTES = 4096
"""How much of a line is compared. Its hash, which covers all of it, lies within."""


@dataclass(frozen=True, slots=True)
class Position:
    """The end of what a process has seen of its log.

    Attributes:
        device: the file system of the file.
        inode: the file's number there.
        end: where the last record ends, in bytes.
        ending: the last bytes of its line.
        last: the record itself.

    """

    device: int
    inode: int
    end: int
    ending: bytes
    last: AuditRecord

    @classmethod
    def after(cls, descriptor: int, last: AuditRecord, line: bytes) -> "Position":
        """Return the position at a file's end, which is that of its last record's line."""
        status = os.fstat(descriptor)
        ending = line[-_ENDING_BYTES:]
        return cls(status.st_dev, status.st_ino, status.st_size, ending, last)

    def change(self, descriptor: int, path: Path) -> Change | None:
        """Return what has become of the log; None if the record stands where it stood.

        A file that was rotated since is the same log.
        """
        status = os.fstat(descriptor)
        if not self._is_file(status):
            if self._is_rotated(path):
                return None
            return "replaced" if status.st_size else "moved"
        if status.st_size < self.end:
            return "truncated"
        return None if self.stands_in(descriptor) else "changed"

    def is_end_of(self, descriptor: int) -> bool:
        """Return whether nothing was appended since, where nothing else has changed."""
        status = os.fstat(descriptor)
        return self._is_file(status) and status.st_size == self.end

    def stands_in(self, descriptor: int) -> bool:
        """Return whether the record stands at its place in a file."""
        place = self.end - len(self.ending)
        return os.pread(descriptor, len(self.ending), place) == self.ending

    def _is_file(self, status: os.stat_result) -> bool:
        return (status.st_dev, status.st_ino) == (self.device, self.inode)

    def _is_rotated(self, path: Path) -> bool:
        for part in reversed(full_parts(path)):
            try:
                descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if self._is_file(os.fstat(descriptor)):
                    return self.stands_in(descriptor)
            finally:
                os.close(descriptor)
        return False

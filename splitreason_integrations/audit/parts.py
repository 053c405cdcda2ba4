"""The files of one log: `audit.jsonl` is written, `audit.jsonl.0001` and so on are full.

The chain goes on from each file to the next.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from splitreason_integrations.audit.files import size_at_rest, sync_folder
from splitreason_integrations.errors import AuditError

_TRIES = 100
"""How often the files are opened anew because one was rotated meanwhile."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log.

    Attributes:
        part: the file.
        number: the line's number in its file, from 1.
        start: where it begins in its file, in bytes.
        content: the line with its line break, if it has one.

    """

    part: Path
    number: int
    start: int
    content: bytes


def full_parts(path: Path) -> list[Path]:
    """Return the files of a log that are full, the oldest first."""
    numbered = re.compile(re.escape(path.name) + r"\.(\d{4,})")
    try:
        found = [match for name in os.listdir(path.parent) if (match := numbered.fullmatch(name))]
    except OSError:
        return []
    return [path.with_name(match[0]) for match in sorted(found, key=lambda match: int(match[1]))]


def set_full(path: Path) -> None:
    """Give the written file the next number; the caller holds its lock."""
    full = full_parts(path)
    number = int(full[-1].suffix[1:]) + 1 if full else 1
    os.rename(path, path.with_name(f"{path.name}.{number:04d}"))
    sync_folder(path.parent)


def set_aside(path: Path) -> Path:
    """Give a file that is not what was written a name of its own; return that name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    os.rename(path, aside)
    sync_folder(path.parent)
    return aside


@dataclass(frozen=True, slots=True)
class Part:
    """An opened file of a log, and how many bytes it had when nobody was writing."""

    path: Path
    file: BinaryIO
    size: int

    def lines(self, start: int = 0, number: int = 1) -> Iterator[Line]:
        """Yield the lines from a place on, without those appended since it was opened."""
        self.file.seek(start)
        while start < self.size and (content := self.file.readline(self.size - start)):
            yield Line(self.path, number, start, content)
            start, number = start + len(content), number + 1


class OpenParts(ExitStack):
    """All files of a log, opened for reading so that none is missed or read twice.

    Raises AuditError where one cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(path)
        self.parts: list[Part] = []

    def __enter__(self) -> "OpenParts":
        super().__enter__()
        try:
            self._open_all()
        except BaseException:
            self.close()
            raise
        return self

    def _open_all(self) -> None:
        for _ in range(_TRIES):
            names = full_parts(self._path)
            self.parts = [self._opened(name) for name in (*names, self._path)]
            if full_parts(self._path) == names:
                return
            self.close()
        raise AuditError(f"the audit log {self._path} is rotated faster than it can be opened")

    def _opened(self, name: Path) -> Part:
        if name.exists() and not name.is_file():
            raise AuditError(f"the audit log {name} cannot be read: it is not a file; name one")
        try:
            file = self.enter_context(name.open("rb"))
        except OSError as error:
            raise AuditError(
                f"the audit log {name} cannot be read: {error.strerror}; name one that was written "
                "with audit="
            ) from error
        return Part(name, file, size_at_rest(file.fileno(), name))


def lines_of(path: str | os.PathLike[str]) -> Iterator[Line]:
    """Yield the lines that a log has now, without those appended meanwhile.

    Raises:
        AuditError: a file cannot be read.

    """
    with OpenParts(path) as opened:
        for part in opened.parts:
            yield from part.lines()

"""The output files of a run: tagged rows and refused rows.

Rows are written in order, each to one of the two files. However a run ends, the next run keeps the
rows up to the first missing one and resumes there.
"""

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from splitreason_integrations.annotation.finishing import (
    Finish,
    Tally,
    tally_of_refused,
    tally_of_tagged,
)
from splitreason_integrations.annotation.report import Report
from splitreason_integrations.audit.files import sync
from splitreason_integrations.errors import ConfigurationError


def refused_path(path: Path) -> Path:
    """Return the path of an output file's refused rows."""
    return path.with_name(f"{path.name}.refused")


class Output:
    """An output file, locked for this process."""

    def __init__(self, path: Path, tagged: BinaryIO, refused: BinaryIO, finish: Finish) -> None:
        self.path = path
        self.report = Report()
        self._files = (tagged, refused)
        written = _Written(path, finish)
        ends = written.read(self._files, self.report)
        self.last_trace = written.last_trace
        for file, end in zip(self._files, ends, strict=True):
            os.truncate(file.fileno(), end)
            file.seek(0, os.SEEK_END)

    @property
    def next_row(self) -> int:
        """Number of the first row that is not written yet."""
        return self.report.traces

    def write(self, rows: Iterable[tuple[Tally, bytes]]) -> None:
        """Write finished rows in order, and flush them to disk."""
        try:
            for tally, line in rows:
                if tally.number != self.next_row:
                    raise ValueError(f"got row {tally.number}, expected row {self.next_row}")
                # Unbuffered and in order: a killed process leaves no row after a missing one.
                write_all(self._files[tally.refused is not None], line)
                self.report.add(tally)
            for file in self._files:
                sync(file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error


@contextmanager
def opened(path: Path, finish: Finish) -> Generator[Output, None, None]:
    """Open an output file for writing; resume it if an earlier run with equal settings started it.

    Raises:
        ConfigurationError: The file cannot be written, is in use, or has other settings.

    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder: name a file in it")
    with ExitStack() as stack:
        try:
            # "ab" creates the files; "r+b" then reads and writes at any position.
            for name in (path, refused_path(path)):
                name.open("ab").close()
            tagged = stack.enter_context(path.open("r+b"))
            refused = stack.enter_context(refused_path(path).open("r+b"))
        except OSError as error:
            raise _unwritable(path, error) from error
        _lock(tagged, path)
        yield Output(path, tagged, refused, finish)
    if refused_path(path).stat().st_size == 0:
        refused_path(path).unlink()


def write_all(file: BinaryIO, content: bytes) -> None:
    """Append content to a file without buffering; on an error, nothing of it is kept."""
    size, rest = os.fstat(file.fileno()).st_size, memoryview(content)
    try:
        while rest:
            rest = rest[os.write(file.fileno(), rest) :]
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError as error:
        raise ConfigurationError(
            "annotate needs the file locks of a POSIX system, such as Linux or macOS"
        ) from error
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: another run writes it; wait until it has ended, or name another file"
        ) from error


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: cannot be written: {error.strerror}; make sure that the disk has room and that "
        "you may write in the folder, then run the same command to resume"
    )


class _Written:
    """Read what earlier runs wrote, and check that it belongs to this run."""

    def __init__(self, path: Path, finish: Finish) -> None:
        self._path, self._finish = path, finish
        self.last_trace: tuple[int, str] | None = None
        """Number and trace of the last tagged row."""

    def read(self, files: tuple[BinaryIO, BinaryIO], report: Report) -> tuple[int, int]:
        """Add all rows before the first missing one to the report; return where they end."""
        tagged = self._tallies(files[0], self._path, self._own)
        refused = self._tallies(files[1], refused_path(self._path), tally_of_refused)
        heads, ends = [next(tagged, None), next(refused, None)], [0, 0]
        while True:
            for at, rows in enumerate((tagged, refused)):
                head = heads[at]
                if head is not None and head[0].number == report.traces:
                    report.add(head[0])
                    ends[at], heads[at] = head[1], next(rows, None)
                    break
            else:
                return ends[0], ends[1]

    def _tallies(
        self, file: BinaryIO, path: Path, read: Callable[[Mapping[str, Any]], Tally]
    ) -> Iterator[tuple[Tally, int]]:
        """Yield each complete line's tally, and the offset at which the line ends."""
        end = 0
        for at, line in enumerate(file, 1):
            whole = line.endswith(b"\n")
            if not whole and end:
                return
            end += len(line)
            try:
                tally = read(json.loads(line if whole else b""))
            except ConfigurationError:
                raise
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                raise ConfigurationError(
                    f"{path}, line {at}: was not written by an annotation run; name another file"
                ) from error
            yield tally, end

    def _own(self, data: Mapping[str, Any]) -> Tally:
        own = data["annotation"]
        if (own["by"], own["settings"]) != (self._finish.by, self._finish.digest):
            raise ConfigurationError(
                f"{self._path} was started by {own['by']} with other settings: give those "
                "settings, or name another file"
            )
        tally = tally_of_tagged(data)
        self.last_trace = (tally.number, data["trace"] if "trace" in data else data["reasoning"])
        return tally

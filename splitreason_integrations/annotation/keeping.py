"""What was found and is not written yet: on disk as it comes, so that nothing is paid for twice."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from splitreason_integrations.annotation.annotators import Found, found_from
from splitreason_integrations.annotation.finishing import Finish
from splitreason_integrations.annotation.output import write_all
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.audit.files import sync
from splitreason_integrations.errors import ConfigurationError

_SYNC_EVERY_S = 1.0


def kept_path(path: Path) -> Path:
    """Return where what was found for an output file is kept."""
    return path.with_name(f"{path.name}.found")


class Kept:
    """What was found for an output file, one line a row, in the order in which it came."""

    def __init__(self, output: Path, finish: Finish) -> None:
        self._path = kept_path(output)
        self._header = {"by": finish.by, "settings": finish.digest}
        self._file: BinaryIO | None = None
        self._synced = time.monotonic()

    @property
    def exists(self) -> bool:
        """Whether something is kept."""
        return self._path.exists()

    def read(self) -> Iterator["KeptFound"]:
        """Yield what is kept; a torn last line is left out.

        Raises ConfigurationError where it is of a run with other settings.
        """
        if not self.exists:
            return
        with self._path.open("rb") as file:
            for at, line in enumerate(file):
                if not line.endswith(b"\n"):
                    return
                data = json.loads(line)
                if at:
                    yield KeptFound(self._path, data["row"], data["trace"], found_from(data))
                elif data != self._header:
                    raise ConfigurationError(
                        f"{self._path} holds what a run with other settings found: go on with "
                        "those, or delete it"
                    )

    def add(self, row: Row, found: Found) -> None:
        """Keep what was found in a row."""
        if self._file is None:
            self._file = self._opened()
        data = {"row": row.number, "trace": _digest(row.trace), **found.data()}
        write_all(self._file, _line(data))
        if time.monotonic() - self._synced > _SYNC_EVERY_S:
            sync(self._file.fileno())
            self._synced = time.monotonic()

    def clear(self) -> None:
        """Forget it all: it is written."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; what it holds stays."""
        if self._file is not None:
            sync(self._file.fileno())
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        file = self._path.open("ab+", buffering=0)
        file.seek(0)
        end = 0
        for line in file:
            end += len(line) if line.endswith(b"\n") else 0
        file.truncate(end)
        if not end:
            write_all(file, _line(self._header))
        return file


class KeptFound:
    """One row's findings from an earlier run."""

    def __init__(self, path: Path, number: int, digest: str, found: Found) -> None:
        self._path, self.number, self._digest, self._found = path, number, digest, found

    @property
    def usd(self) -> float:
        """What it cost."""
        return self._found.usage.usd

    @property
    def found(self) -> Found:
        """What was found, in whatever row it was."""
        return self._found

    def of(self, row: Row) -> Found:
        """Return what was found; raise ConfigurationError where the row is another one."""
        if (row.number, _digest(row.trace)) != (self.number, self._digest):
            raise ConfigurationError(
                f"{self._path} holds what was found in other traces: give those again, or delete it"
            )
        return self._found


def _digest(trace: str) -> str:
    return hashlib.sha256(trace.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _line(data: object) -> bytes:
    return json.dumps(data).encode() + b"\n"

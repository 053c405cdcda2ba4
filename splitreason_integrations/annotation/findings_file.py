"""Findings that are not written to the output yet, stored so that no call is paid for twice."""

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


def findings_path(path: Path) -> Path:
    """Return the path of the findings of an output file."""
    return path.with_name(f"{path.name}.found")


class FindingsFile:
    """Findings for an output file: one line per row, in order of arrival."""

    def __init__(self, output: Path, finish: Finish) -> None:
        self._path = findings_path(output)
        self._header = {"by": finish.by, "settings": finish.digest}
        self._file: BinaryIO | None = None
        self._synced = time.monotonic()

    @property
    def exists(self) -> bool:
        """Whether findings are stored."""
        return self._path.exists()

    def read(self) -> Iterator["StoredFound"]:
        """Yield the stored findings; an incomplete last line is ignored.

        Raises:
            ConfigurationError: They belong to a run with other settings.

        """
        if not self.exists:
            return
        with self._path.open("rb") as file:
            for at, line in enumerate(file):
                if not line.endswith(b"\n"):
                    return
                data = json.loads(line)
                if at:
                    yield StoredFound(self._path, data["row"], data["trace"], found_from(data))
                elif data != self._header:
                    raise ConfigurationError(
                        f"{self._path} holds findings of a run with other settings: give those "
                        "settings, or delete the file"
                    )

    def add(self, row: Row, found: Found) -> None:
        """Store the findings of a row."""
        if self._file is None:
            self._file = self._opened()
        data = {"row": row.number, "trace": _digest(row.trace), **found.data()}
        write_all(self._file, _line(data))
        if time.monotonic() - self._synced > _SYNC_EVERY_S:
            sync(self._file.fileno())
            self._synced = time.monotonic()

    def clear(self) -> None:
        """Delete the findings: all of them are written."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; its content stays."""
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


class StoredFound:
    """Findings of one row from an earlier run."""

    def __init__(self, path: Path, number: int, digest: str, found: Found) -> None:
        self._path, self.number, self._digest, self._found = path, number, digest, found

    @property
    def usd(self) -> float:
        """Cost in USD."""
        return self._found.usage.usd

    @property
    def found(self) -> Found:
        """The findings, without a check of the row."""
        return self._found

    def of(self, row: Row) -> Found:
        """Return the findings.

        Raises:
            ConfigurationError: They belong to another row.

        """
        if (row.number, _digest(row.trace)) != (self.number, self._digest):
            raise ConfigurationError(
                f"{self._path} holds findings of other traces: give those traces, or delete the "
                "file"
            )
        return self._found


def _digest(trace: str) -> str:
    return hashlib.sha256(trace.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _line(data: object) -> bytes:
    return json.dumps(data).encode() + b"\n"

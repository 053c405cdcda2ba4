"""Checks of a log: every line unchanged, none missing, none cut off."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from splitreason_integrations.audit.files import cut_torn_tail, locked, size_at_rest
from splitreason_integrations.audit.record import GENESIS, AuditRecord
from splitreason_integrations.errors import AuditError


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        records: number of valid records from the start of the log.
        head: hash of the last valid record.
        bad_line: number of the first line that was changed, from 1; None if there is none.
        problem: what is wrong with it; empty if nothing is.
        torn: whether it is a last line cut off in the middle, which `repair` mends.

    """

    records: int
    head: str
    bad_line: int | None = None
    problem: str = ""
    torn: bool = False

    @property
    def ok(self) -> bool:
        """Whether the log is whole."""
        return not self.problem


class DamagedLineError(AuditError):
    """A line of a log was changed, is missing or was cut off."""

    def __init__(self, number: int, why: str, *, torn: bool = False) -> None:
        super().__init__(f"line {number}: {why}")
        self.number, self.why, self.torn = number, why, torn


def read(path: str | os.PathLike[str]) -> Iterator[AuditRecord]:
    """Yield a log's records, each checked against the one before.

    Raises:
        DamagedLineError: at the first line that was changed, is missing or was cut off.
        AuditError: the file cannot be read.

    """
    previous = GENESIS
    for number, line in enumerate(_lines(Path(path)), start=1):
        if not line.endswith(b"\n"):
            raise DamagedLineError(number, "torn: the line has no end", torn=True)
        try:
            record = AuditRecord.from_line(line[:-1])
        except AuditError as error:
            raise DamagedLineError(number, f"changed: {error}") from error
        if record.sequence != number:
            raise DamagedLineError(
                number, f"missing: here should be record {number}, not {record.sequence}"
            )
        if record.previous != previous:
            raise DamagedLineError(number, "changed: it does not follow from the line before")
        previous = record.hash
        yield record


def verify(path: str | os.PathLike[str], *, head: str | None = None) -> Report:
    """Check every line of a log.

    Args:
        path: the log.
        head: hash that an earlier check reported. The log must still contain that record, which
            finds records cut off at the end and a chain that was written anew.

    Raises:
        AuditError: the file cannot be read.

    """
    hashes = {GENESIS}
    report = walk(path, lambda record: hashes.add(record.hash))
    if report.ok and head is not None and head not in hashes:
        return Report(
            report.records, report.head, report.records + 1, f"missing: no record has hash {head}"
        )
    return report


def walk(path: str | os.PathLike[str], visit: Callable[[AuditRecord], object]) -> Report:
    """Call `visit` with each record up to the first bad line; return how far that was."""
    records, last = 0, GENESIS
    try:
        for record in read(path):
            records, last = record.sequence, record.hash
            visit(record)
    except DamagedLineError as error:
        return Report(records, last, error.number, error.why, error.torn)
    return Report(records, last)


def repair(path: str | os.PathLike[str]) -> int:
    """Move a torn last line to `<path>.torn` and nothing else; return how many bytes it had."""
    with locked(Path(path)) as descriptor:
        return len(cut_torn_tail(descriptor, Path(path)))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that a log has now, without those appended meanwhile."""
    try:
        with path.open("rb") as file:
            left = size_at_rest(file.fileno(), path)
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                yield line
    except OSError as error:
        raise AuditError(
            f"the audit log {path} cannot be read: {error.strerror}; name one that was written "
            "with audit="
        ) from error

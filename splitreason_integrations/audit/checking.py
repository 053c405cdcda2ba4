"""Checks of a log: every line unchanged, none missing, none cut off, every signature right."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from splitreason_integrations.audit.files import cut_torn_tail, locked
from splitreason_integrations.audit.parts import Line, lines_of
from splitreason_integrations.audit.record import GENESIS, AuditRecord, hash_in
from splitreason_integrations.audit.signing import AuditKey, SignatureCheck, read_keys
from splitreason_integrations.errors import AuditError


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that are missing, while those before and behind are whole.

    Attributes:
        line: the first line behind them.
        why: what is missing.
        file: the name of that line's file.
        before: how many records of the log are before it.

    """

    line: int
    why: str
    file: str
    before: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        records: number of valid records from the start of the log to the first problem.
        head: hash of the last valid record.
        bad_line: number of the first line in its file that was changed, or behind which records
            are missing, from 1; None if there is none.
        problem: what is wrong with it; empty if nothing is.
        torn: whether it is a last line cut off in the middle, which `repair` mends.
        file: name of the file of that line; empty if nothing is wrong.
        stopped: whether the lines from `bad_line` on were not read.
        signatures: number of valid signatures; None where no key was given to check them.

    """

    records: int
    head: str
    bad_line: int | None = None
    problem: str = ""
    torn: bool = False
    file: str = ""
    stopped: bool = False
    signatures: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the log is whole."""
        return not self.problem


_Problem: TypeAlias = tuple[int, str, str]
"""A line's number, what is wrong with it, and its file."""


class DamagedLineError(AuditError):
    """A line of a log was changed, is missing or was cut off."""

    def __init__(self, line: Line, why: str, *, torn: bool = False) -> None:
        super().__init__(f"line {line.number}: {why}")
        self.number, self.why, self.torn, self.file = line.number, why, torn, line.part.name


class Chain:
    """Follows the lines of a log, and checks each against the one before.

    Attributes:
        sequence: number of the last valid record.
        head: its hash.
        gaps: where records are missing.

    """

    def __init__(self, *, after: str | None = None) -> None:
        self.sequence, self.head = 0, GENESIS
        self.gaps: list[Gap] = []
        self.records = 0
        self._after = after
        self._part = ""

    @classmethod
    def behind(cls, sequence: int, head: str) -> "Chain":
        """Return a chain that goes on behind a record."""
        chain = cls()
        chain.sequence, chain.head = sequence, head
        return chain

    def check(self, line: Line, record: AuditRecord) -> None:
        """Take the next line's record.

        Raises:
            DamagedLineError: it does not follow from the line before.

        """
        self.enter(line, record.sequence, record.previous)
        self.skip(line, 1, record.sequence, record.hash)

    def enter(self, line: Line, sequence: int, previous: str) -> None:
        """Check that a line with this number follows; a file before it may be missing."""
        missing = sequence - self.sequence - 1
        if missing and (line.number > 1 or missing < 0):
            raise DamagedLineError(
                line, f"missing: here should be record {self.sequence + 1}, not {sequence}"
            )
        if missing:
            self._miss(line, sequence, previous)
        elif previous != self.head:
            what = "line" if line.number > 1 else "file"
            raise DamagedLineError(line, f"changed: it does not follow from the {what} before")

    def skip(self, line: Line, records: int, sequence: int, head: str) -> None:
        """Go on behind records that are known to be whole, of which the last one is given."""
        self.sequence, self.head, self._part = sequence, head, line.part.name
        self.records += records

    def _miss(self, line: Line, sequence: int, previous: str) -> None:
        if self.records == 0 and previous == self._after:
            return
        first, last = self.sequence + 1, sequence - 1
        those = f"record {first}" if first == last else f"records {first} to {last}"
        behind = f", which followed {self._part}" if self._part else ""
        why = f"missing: {those}, in a file that is not here{behind}"
        self.gaps.append(Gap(line.number, why, line.part.name, self.records))


def read(path: str | os.PathLike[str]) -> Iterator[AuditRecord]:
    """Yield a log's records, each checked against the one before.

    Raises:
        DamagedLineError: at the first line that was changed, is missing or was cut off.
        AuditError: the file cannot be read.

    """
    chain = Chain()
    for line in lines_of(path):
        yield checked(line, chain, AuditRecord.from_line)


def checked(line: Line, chain: Chain, reading: Callable[[bytes], AuditRecord]) -> AuditRecord:
    """Return the record of a chain's next line; raise DamagedLineError if it is not one."""
    if not line.content.endswith(b"\n"):
        raise DamagedLineError(line, "torn: the line has no end", torn=True)
    try:
        record = reading(line.content[:-1])
    except AuditError as error:
        raise DamagedLineError(line, f"changed: {error}") from error
    chain.check(line, record)
    return record


def verify(
    path: str | os.PathLike[str],
    *,
    head: str | None = None,
    key: AuditKey = None,
    after: str | None = None,
) -> Report:
    """Check every line of a log, in all its files.

    Args:
        path: the file that is written; those that are full are found beside it.
        head: hash that an earlier check reported. The log must still contain that record, which
            finds records cut off at the end and a chain that was written anew.
        key: checks the signatures: the secret, or the public or private Ed25519 key as PEM; several
            after a change of keys. By default the environment variable `SPLITREASON_AUDIT_KEY`.
        after: hash of the last record that was deleted on purpose, with the oldest files.

    Raises:
        AuditError: a file cannot be read.
        ConfigurationError: the key is none.

    """
    keys = read_keys(key)
    check = SignatureCheck(keys) if keys else None
    seen = _Seen(head, check, after)
    report = walk(path, seen.take, after=after)
    if check is not None:
        report = replace(report, signatures=check.signatures)
    if not report.ok:
        return report
    for bad, why, file in seen.problems(path, report.records):
        return replace(report, bad_line=bad, problem=why, file=file)
    return report


class _Seen:
    """What a check looks for in the records of a whole chain."""

    def __init__(
        self, head: str | None, signatures: SignatureCheck | None, after: str | None
    ) -> None:
        self._head, self._has_head = head, head in (None, GENESIS, after)
        self._after, self._first = after, 0
        self._signatures = signatures
        self._forged: list[_Problem] = []
        self._breaks: list[tuple[Line, AuditRecord]] = []
        self._last = (0, 0, "")

    def take(self, line: Line, record: AuditRecord) -> None:
        if record.previous == self._after:
            self._first = record.sequence
        self._last = (record.sequence, line.number, line.part.name)
        self._has_head = self._has_head or record.hash == self._head
        if record.kind == "broken":
            self._breaks.append((Line(line.part, line.number, line.start, b""), record))
        elif self._signatures is not None and (why := self._signatures.problem_of(record)):
            self._forged.append((line.number, why, line.part.name))

    def problems(self, path: str | os.PathLike[str], records: int) -> Iterator[_Problem]:
        """Yield (line, problem, file) for what is wrong with a log whose lines are whole."""
        yield from self._forged
        yield from self._lost(path)
        last, line, file = self._last
        signatures = self._signatures
        if signatures is not None and (why := signatures.problem_at_end(records, last)):
            yield line, why, file
        if not self._has_head:
            yield line + 1, f"missing: no record has hash {self._head}", file

    def _lost(self, path: str | os.PathLike[str]) -> Iterator[_Problem]:
        """Yield the breaks whose lost record is nowhere in the log."""
        wanted = {str(_fact(record, "expected_hash")) for _, record in self._breaks}
        if not wanted:
            return
        found = {hash_in(line.content) for line in lines_of(path)} & wanted
        for line, record in self._breaks:
            if _is_before(_fact(record, "expected_sequence"), self._first):
                continue
            if (lost := str(_fact(record, "expected_hash"))) not in found:
                why = (
                    f"missing: record {_fact(record, 'expected_sequence')} with hash {lost}; a "
                    f"writer found here that its file had been {_fact(record, 'change')}"
                )
                yield line.number, why, line.part.name


def _is_before(sequence: Any, first: int) -> bool:
    return isinstance(sequence, int) and sequence < first


def _fact(record: AuditRecord, name: str) -> Any:
    return record.data.get(name) if isinstance(record.data, Mapping) else None


def walk(
    path: str | os.PathLike[str],
    visit: Callable[[Line, AuditRecord], object],
    *,
    after: str | None = None,
) -> Report:
    """Call `visit` with each line and record up to the first bad line; return how far that was.

    Where only files are missing, those behind them are read too.
    """
    chain = Chain(after=after)
    try:
        for line in lines_of(path):
            visit(line, checked(line, chain, AuditRecord.from_line))
    except DamagedLineError as error:
        return stopped(chain, error)
    return report_of(chain)


def stopped(chain: Chain, error: DamagedLineError) -> Report:
    """Return the report on a chain that goes as far as a damaged line."""
    return Report(
        chain.records, chain.head, error.number, error.why, error.torn, error.file, stopped=True
    )


def report_of(chain: Chain) -> Report:
    """Return the report on a chain that was read to its end."""
    report = Report(chain.records, chain.head)
    if not chain.gaps:
        return report
    gap = chain.gaps[0]
    return replace(report, records=gap.before, bad_line=gap.line, problem=gap.why, file=gap.file)


def repair(path: str | os.PathLike[str]) -> int:
    """Move a torn last line to `<path>.torn` and nothing else; return how many bytes it had."""
    with locked(Path(path)) as descriptor:
        return len(cut_torn_tail(descriptor, Path(path)))

"""The log read back, request by request."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.audit.checking import (
    Chain,
    DamagedLineError,
    Report,
    report_of,
    stopped,
    walk,
)
from splitreason_integrations.audit.index import PartIndex, index_of, records_at
from splitreason_integrations.audit.kinds import is_decision
from splitreason_integrations.audit.parts import Line, OpenParts, Part
from splitreason_integrations.audit.record import AuditRecord
from splitreason_integrations.errors import AuditError

ENDS = ("finished", "failed", "cancelled", "waiting")


@dataclass(frozen=True, slots=True)
class RequestHistory:
    """The records of one request in order, and figures from them."""

    request_id: str
    records: tuple[AuditRecord, ...]

    @property
    def time_utc(self) -> str:
        """When it began."""
        return self.records[0].time_utc

    @property
    def status(self) -> str:
        """Its end: finished, failed, cancelled, waiting; unfinished where the log does not say."""
        said = [r.kind for r in self.records if r.kind.startswith("request.")]
        end = said[-1].removeprefix("request.") if said else ""
        return end if end in ENDS else "unfinished"

    @property
    def started(self) -> Mapping[str, Any]:
        """The settings of the request; empty if the log has none."""
        return self.data_of("request.started") or {}

    @property
    def finished(self) -> Mapping[str, Any]:
        """Tokens, cost and time of the reply; empty if it was not finished."""
        return self.data_of("request.finished") or {}

    @property
    def spans(self) -> Sequence[Mapping[str, Any]]:
        """The spans that the large model wrote, those of an unfinished request included."""
        if self.finished:
            spans: Sequence[Mapping[str, Any]] = self.finished["spans"]
            return spans
        return [r.data for r in self.records if r.kind == "splitreason.handoff.finished"]

    @property
    def tokens(self) -> tuple[int, int]:
        """Small and large tokens of the finished reply."""
        tokens = self.finished.get("tokens", {})
        return tokens.get("small", 0), tokens.get("large", 0)

    @property
    def cost_usd(self) -> float:
        """Cost in USD, as far as it is recorded."""
        spent = sum(span.get("cost_usd", 0.0) for span in self.spans)
        return float(self.finished.get("cost_usd", spent))

    @property
    def degraded(self) -> bool:
        """Whether the large model failed and the small one finished the reply."""
        return bool(self.finished.get("degraded"))

    @property
    def decisions(self) -> list[AuditRecord]:
        """The records of questions to people and their decisions."""
        return [record for record in self.records if is_decision(record)]

    @property
    def answers(self) -> int:
        """How often a person answered."""
        return sum(record.kind == "splitreason.human.answered" for record in self.records)

    def data_of(self, kind: str) -> Mapping[str, Any] | None:
        """Return the data of the last record of a kind."""
        return next((r.data for r in reversed(self.records) if r.kind == kind), None)

    def summary(self) -> dict[str, Any]:
        """Return the request's line of a listing, as plain data."""
        return {
            "request_id": self.request_id,
            "time_utc": self.time_utc,
            "status": self.status,
            "spans": len(self.spans),
            "offload_share": self.finished.get("offload_share"),
            "cost_usd": self.cost_usd,
            "latency_s": self.finished.get("latency_s"),
            "degraded": self.degraded,
            "human_answers": self.answers,
        }


@dataclass(frozen=True, slots=True)
class History:
    """A log read back.

    Attributes:
        requests: the requests in order.
        others: records of no request.
        report: how far the log is valid.

    """

    requests: tuple[RequestHistory, ...]
    others: tuple[AuditRecord, ...]
    report: Report

    def request(self, start: str) -> RequestHistory:
        """Return the request whose id starts so; raise AuditError unless there is exactly one."""
        found = {one.request_id: one for one in self.requests if one.request_id.startswith(start)}
        return found[only(start, list(found))]


class IndexedLog(OpenParts):
    """A log opened for reading request by request, by means of the index of each of its files.

    Attributes:
        report: how far the log is whole, as the indexes say; `verify` reads the log itself.

    """

    report: Report

    def __enter__(self) -> "IndexedLog":
        super().__enter__()
        try:
            self._indexes = [index_of(part) for part in self.parts]
        except BaseException:
            self.close()
            raise
        self.report = _joined(self.parts, self._indexes)
        return self

    def request(self, start: str) -> RequestHistory:
        """Return the request whose id starts so; raise AuditError unless there is exactly one."""
        found = {name for index in self._indexes for name in index.requests}
        return self._history(only(start, [name for name in found if name.startswith(start)]))

    def since(self, begin: str = "") -> Iterator[RequestHistory]:
        """Yield the requests that began at a time or later, in their order."""
        begun: dict[str, str] = {}
        for index in self._indexes:
            for name, (time, _) in index.requests.items():
                begun.setdefault(name, time)
        for name, time in begun.items():
            if time >= begin:
                yield self._history(name)

    def _history(self, name: str) -> RequestHistory:
        records: list[AuditRecord] = []
        for part, index in zip(self.parts, self._indexes, strict=True):
            if name in index.requests:
                records += records_at(part, index.requests[name][1])
        if any(record.request_id != name for record in records):
            raise AuditError("the log was changed while it was read; read it again")
        return RequestHistory(name, tuple(records))


def _joined(parts: Sequence[Part], indexes: Sequence[PartIndex]) -> Report:
    """Return how far the chain goes on from file to file."""
    chain = Chain()
    for part, index in zip(parts, indexes, strict=True):
        line = Line(part.path, 1, 0, b"")
        try:
            if index.lines:
                chain.enter(line, *index.first)
                chain.skip(line, index.lines, *index.last)
            if index.problem:
                bad = Line(part.path, index.lines + 1, index.indexed, b"")
                raise DamagedLineError(bad, index.problem, torn=index.torn)
        except DamagedLineError as error:
            return stopped(chain, error)
    return report_of(chain)


def only(start: str, found: Sequence[str]) -> str:
    """Return the one id that was found for its start; raise AuditError unless it is one."""
    if start in found:
        return start
    if len(found) != 1:
        count = "no request" if not found else f"{len(found)} requests"
        raise AuditError(
            f"{count} of the log begin with {start!r}; 'splitreason audit list' shows them"
        )
    return found[0]


def load(path: str | os.PathLike[str]) -> History:
    """Return a log's requests, up to its first bad line.

    Raises:
        AuditError: the file cannot be read.

    """
    requests: dict[str, list[AuditRecord]] = {}
    others: list[AuditRecord] = []

    def sort(_line: Line, record: AuditRecord) -> None:
        known = record.request_id is not None
        (requests.setdefault(record.request_id or "", []) if known else others).append(record)

    report = walk(path, sort)
    histories = (RequestHistory(one, tuple(records)) for one, records in requests.items())
    return History(tuple(histories), tuple(others), report)

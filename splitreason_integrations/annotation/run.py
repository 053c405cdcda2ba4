"""A whole annotation run: read, find, finish and write rows; resume an interrupted run."""

import asyncio
import hashlib
import json
import math
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from splitreason_integrations.annotation.annotators import Annotator, Found
from splitreason_integrations.annotation.findings_file import FindingsFile, StoredFound
from splitreason_integrations.annotation.finishers import Finished, Finishers
from splitreason_integrations.annotation.finishing import Finish
from splitreason_integrations.annotation.output import Output, opened
from splitreason_integrations.annotation.report import Report
from splitreason_integrations.annotation.rows import Row, control_pattern, refusal
from splitreason_integrations.annotation.shares import rank_for
from splitreason_integrations.annotation.sources import Source
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.checks import check_number
from splitreason_integrations.errors import ConfigurationError, MissingExtraError

OnProgress = Callable[[str, int, float], None]
"""Called with (stage, rows done, USD spent on all rows so far)."""
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run places and writes what its annotator finds.

    Attributes:
        align: What span borders are moved to.
        cutoff: Similarity from 0 to 100 that a fuzzy placement needs.
        share: Keep the highest-scored spans that hold this fraction of the tokens.
        min_score: Keep spans from this score on.
        control: Control tags that a trace may not contain, beyond the well-known ones.
        tokenizer: Tokenizer that counts tokens, as JSON text.
        workers: Processes that place and write.

    """

    align: Align = Align.SENTENCE
    cutoff: float = 90.0
    share: float | None = None
    min_score: float = 0.0
    control: tuple[str, ...] = ()
    tokenizer: str | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        check_number("min_score", self.min_score, most=1)
        check_number("workers", self.workers, least=1, most=256, whole=True)
        if self.share is not None:
            check_number("share", self.share, most=1)


def ignore_progress(stage: str, done: int, usd: float) -> None:
    """Ignore progress."""


async def annotate(
    source: Source,
    annotator: Annotator,
    output: Path,
    settings: Settings | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Report:
    """Annotate all rows of a source into a file; return figures over the whole file.

    If an earlier run with equal settings started the file, this run resumes it. Findings of rows
    that are not written yet are in a file next to it.

    Args:
        source: The traces.
        annotator: What finds hard spans.
        output: File to write.
        settings: How spans are placed and written.
        on_progress: Called with (stage, rows done, USD spent).

    Raises:
        ConfigurationError: The file belongs to another run, or `share` is given without scores.
        MissingExtraError: The extra `train` is not installed.

    """
    chosen = settings or Settings()
    if find_spec("rapidfuzz") is None:
        raise MissingExtraError(
            'annotate needs the extra train: pip install "splitreason-integrations[train]"'
        )
    if chosen.share is not None and not annotator.scores:
        raise ConfigurationError(
            f"share= needs scores, and {annotator.name} has none: leave share out"
        )
    finish = _finish(annotator, chosen)
    started = time.monotonic()
    with opened(output, finish) as out:
        _check_same(source, out)
        run = _Run(
            source, out, FindingsFile(output, finish), control_pattern(chosen.control), on_progress
        )
        try:
            if chosen.share is not None:
                if run.is_complete():
                    return out.report
                rank = await run.score(annotator, chosen.share)
                finish = replace(finish, min_rank=rank, min_score=-math.expm1(-rank))
                annotator = _Scored(run.findings)
            with Finishers(finish, workers=chosen.workers) as finishers:
                await run.write(annotator, finishers)
        finally:
            run.findings.close()
        out.report.min_score = finish.min_score or None
        out.report.seconds = time.monotonic() - started
        return out.report


class _Run:
    """Steps of one run."""

    def __init__(
        self,
        source: Source,
        out: Output,
        findings: FindingsFile,
        control: re.Pattern[str],
        on_progress: OnProgress,
    ) -> None:
        self._source, self._out, self.findings = source, out, findings
        self._control, self._on_progress = control, on_progress

    def is_complete(self) -> bool:
        """Return whether all rows are written.

        Raises:
            ConfigurationError: The source has more rows than when the threshold was chosen.

        """
        if self.findings.exists or not self._out.next_row:
            return False
        if next(self._source.rows(self._out.next_row), None) is not None:
            raise ConfigurationError(
                f"{self._out.path} is complete with a threshold chosen for all of its traces, and "
                "now there are more traces: name another file"
            )
        return True

    async def score(self, annotator: Annotator, share: float) -> float:
        """Store the scores of all rows; return the lowest rank of spans that hold the share."""
        done = sum(1 for _ in self.findings.read())
        for rows in _batches(self._source.rows(done), annotator.batch_rows):
            found = dict(await self._find(annotator, rows, 0.0))
            for at, row in enumerate(rows):
                self.findings.add(row, found[at])
            done += len(rows)
            self._on_progress("score", done, 0.0)
        self.findings.close()
        return rank_for(share, (one.found for one in self.findings.read()))

    async def write(self, annotator: Annotator, finishers: Finishers) -> None:
        """Find, finish and write all rows that are not written yet."""
        first = self._out.next_row
        known = {one.number: one for one in self.findings.read()} if annotator.journals else {}
        known = {number: one for number, one in known.items() if number >= first}
        pending: deque[asyncio.Task[Finished]] = deque()
        try:
            for rows in _batches(self._source.rows(first), annotator.batch_rows):
                pairs = await self._pairs(annotator, rows, known)
                pending.append(asyncio.create_task(finishers.finish(pairs)))
                await self._settle(pending, 0 if annotator.journals else _AHEAD)
                if len(pairs) < len(rows):
                    await self._settle(pending, 0)
                    self._out.report.stopped = annotator.stopped
                    return
                if annotator.journals and not known:
                    self.findings.clear()
            await self._settle(pending, 0)
        finally:
            for task in pending:
                task.cancel()
        self.findings.clear()

    async def _pairs(
        self, annotator: Annotator, rows: Sequence[Row], known: dict[int, StoredFound]
    ) -> list[tuple[Row, Found]]:
        """Return rows with their findings, up to the first row that was left out."""
        spent = self._out.report.usd + sum(one.usd for one in known.values())
        found = {row.number: known[row.number].of(row) for row in rows if row.number in known}
        missing = [row for row in rows if row.number not in found]
        for at, one in await self._find(annotator, missing, spent):
            found[missing[at].number] = one
        pairs = []
        for row in rows:
            if row.number not in found:
                break
            pairs.append((row, found[row.number]))
            known.pop(row.number, None)
        return pairs

    async def _find(
        self, annotator: Annotator, rows: Sequence[Row], spent_usd: float
    ) -> list[tuple[int, Found]]:
        """Return (index in `rows`, findings) pairs; rows that will be refused get empty findings.

        Findings of an annotator that journals are stored as they arrive.
        """
        wanted = [at for at, row in enumerate(rows) if refusal(row, self._control) is None]
        found = [(at, Found()) for at in sorted({*range(len(rows))} - {*wanted})]
        before = self._out.next_row
        some = [rows[at] for at in wanted]
        async with aclosing(annotator.find(some, spent_usd=spent_usd)) as finding:
            async for at, one in finding:
                if annotator.journals:
                    self.findings.add(some[at], one)
                    spent_usd += one.usage.usd
                    self._on_progress("annotate", before + len(found), spent_usd)
                found.append((wanted[at], one))
        return found

    async def _settle(self, pending: deque[asyncio.Task[Finished]], ahead: int) -> None:
        """Write finished rows until no more than `ahead` batches are pending."""
        while len(pending) > ahead:
            self._out.write(await pending.popleft())
            self._on_progress("annotate", self._out.next_row, self._out.report.usd)


class _Scored:
    """Return the findings that were stored when all rows were scored."""

    name = "scored"
    batch_rows = 128
    journals = False
    scores = True
    stopped: str | None = None
    settings: Mapping[str, Any] = {}

    def __init__(self, findings: FindingsFile) -> None:
        self._stored = findings.read()

    async def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield the stored findings of the rows, which come in order."""
        for at, row in enumerate(rows):
            one = next(one for one in self._stored if one.number >= row.number)
            yield at, one.of(row)


def _finish(annotator: Annotator, chosen: Settings) -> Finish:
    decides = {
        "settings": dict(annotator.settings),
        "align": chosen.align.value,
        "cutoff": chosen.cutoff,
        "share": chosen.share,
        "min_score": chosen.min_score,
        "control": list(chosen.control),
        "tokenizer": chosen.tokenizer and hashlib.sha256(chosen.tokenizer.encode()).hexdigest(),
    }
    text = json.dumps(decides, sort_keys=True)
    return Finish(
        by=annotator.name,
        digest=hashlib.sha256(text.encode()).hexdigest()[:12],
        align=chosen.align,
        cutoff=chosen.cutoff,
        min_score=chosen.min_score,
        control=chosen.control,
        tokenizer=chosen.tokenizer,
    )


def _check_same(source: Source, out: Output) -> None:
    """Raise ConfigurationError if the source is not the one that the file was made from."""
    if out.last_trace is None:
        return
    number, trace = out.last_trace
    row = next(source.rows(number), None)
    if row is None or row.trace != trace:
        raise ConfigurationError(
            f"{out.path} holds annotations of other traces: give those traces, or name another file"
        )


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    each = iter(rows)
    while batch := list(islice(each, size)):
        yield batch

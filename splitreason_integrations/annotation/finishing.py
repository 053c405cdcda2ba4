"""Turn the findings of a trace into its output line; runs in any process."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.annotation import placement
from splitreason_integrations.annotation.annotators import Found, Usage
from splitreason_integrations.annotation.rows import Row, control_pattern, refusal
from splitreason_integrations.annotation.steps import Align, steps
from splitreason_integrations.annotation.tagging import Span, align, merge, tag, tighten
from splitreason_integrations.annotation.tokens import TokenCounter
from splitreason_integrations.checks import check_number
from splitreason_integrations.errors import RequestError


@dataclass(frozen=True, slots=True)
class Finish:
    """How spans are placed and written.

    Attributes:
        by: Name of the annotator.
        digest: Hash of all settings of the run.
        align: What span borders are moved to.
        cutoff: Similarity from 0 to 100 that a fuzzy placement needs.
        min_score: Spans with a lower score are left out.
        min_rank: Spans with a lower rank are left out.
        control: Control tags that a trace may not contain, beyond the well-known ones.
        tokenizer: Tokenizer that counts tokens, as JSON text of the tokenizers library.

    """

    by: str
    digest: str
    align: Align = Align.SENTENCE
    cutoff: float = 90.0
    min_score: float = 0.0
    min_rank: float = 0.0
    control: tuple[str, ...] = ()
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        check_number("cutoff", self.cutoff, most=100)


@dataclass(frozen=True, slots=True)
class Tally:
    """What one row adds to the report.

    Attributes:
        number: Row number.
        refused: Why the row was not tagged, if so.
        characters: Characters of the trace.
        lengths: Characters of each span.
        tokens: Tokens in spans, and all tokens, if counted.
        placed: Number of placed snippets by how they were found.
        unplaced: Number of unplaced snippets by reason.
        usage: Tokens and cost of the annotator's model.
        gold: Characters in both spans and known hard spans, in spans only, and in known ones only.

    """

    number: int
    refused: str | None = None
    characters: int = 0
    lengths: tuple[int, ...] = ()
    tokens: tuple[int, int] | None = None
    placed: Mapping[str, int] = field(default_factory=dict)
    unplaced: Mapping[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    gold: tuple[int, int, int] | None = None


class Finisher:
    """Finish rows with one set of settings."""

    def __init__(self, finish: Finish) -> None:
        self._finish = finish
        self._control = control_pattern(finish.control)
        self._count = TokenCounter(finish.tokenizer) if finish.tokenizer else None

    @property
    def control(self) -> re.Pattern[str]:
        """Pattern that matches control tags."""
        return self._control

    def finish(self, row: Row, found: Found) -> tuple[Tally, bytes]:
        """Return what a row adds to the report, and its output line: tagged, or refused."""
        reason = refusal(row, self._control) or found.failure
        if reason is not None:
            tally = Tally(row.number, refused=reason, usage=found.usage)
            given = {"id": row.data["id"]} if "id" in row.data else {}
            return tally, _line({"row": row.number, **given, "reason": reason, **_usage(tally)})
        placed = placement.place(row.trace, found.quotes, cutoff=self._finish.cutoff)
        spans = self._spans(row.trace, found, placed)
        tally = self._tally(row, found, placed, spans)
        return tally, _line(self._tagged(row, tally, spans))

    def _spans(self, trace: str, found: Found, placed: placement.Placement) -> list[Span]:
        least = self._finish
        ranked = zip(found.spans, found.ranks, strict=True) if least.min_rank else ()
        scored = [span for span, rank in ranked if rank >= least.min_rank]
        if not least.min_rank:
            scored = [s for s in found.spans if s.score is None or s.score >= least.min_score]
        tight = [tighten(trace, span) for span in [*placed.spans, *scored]]
        kept = [span for span in tight if span is not None]
        borders = steps(trace, self._finish.align) if kept else []
        if not borders:
            return merge(trace, kept)
        aligned = [align(span, borders) for span in merge(trace, kept)]
        return merge(trace, aligned)

    def _tally(
        self, row: Row, found: Found, placed: placement.Placement, spans: list[Span]
    ) -> Tally:
        return Tally(
            row.number,
            characters=len(row.trace),
            lengths=tuple(span.end - span.start for span in spans),
            tokens=self._count.inside(row.trace, spans) if self._count else None,
            placed=Counter(how.value for how in placed.how),
            unplaced=Counter(reason.value for reason in placed.rejected),
            usage=found.usage,
            gold=None if row.gold is None else _overlap(spans, merge(row.trace, row.gold)),
        )

    def _tagged(self, row: Row, tally: Tally, spans: list[Span]) -> dict[str, Any]:
        own: dict[str, Any] = {
            "row": row.number,
            "by": self._finish.by,
            "settings": self._finish.digest,
            "scores": [None if s.score is None else round(s.score, 6) for s in spans],
        }
        if tally.placed or tally.unplaced:
            own |= {"placed": dict(tally.placed), "unplaced": dict(tally.unplaced)}
        if tally.tokens is not None:
            own["tokens"] = list(tally.tokens)
        return {
            **row.data,
            "tagged": tag(row.trace, spans),
            "spans": [[span.start, span.end] for span in spans],
            "annotation": own | _usage(tally),
        }


def tally_of_tagged(data: Mapping[str, Any]) -> Tally:
    """Return the tally of a tagged row that was written earlier."""
    own, trace = data["annotation"], data["trace"] if "trace" in data else data["reasoning"]
    spans = [Span(start, end) for start, end in data["spans"]]
    gold = data.get("gold_spans")
    known = None if gold is None else merge(trace, [Span(start, end) for start, end in gold])
    return Tally(
        own["row"],
        characters=len(trace),
        lengths=tuple(span.end - span.start for span in spans),
        tokens=tuple(own["tokens"]) if "tokens" in own else None,
        placed=own.get("placed", {}),
        unplaced=own.get("unplaced", {}),
        usage=Usage(*own.get("usage", ())),
        gold=None if known is None else _overlap(spans, known),
    )


def tally_of_refused(data: Mapping[str, Any]) -> Tally:
    """Return the tally of a refused row that was written earlier."""
    return Tally(data["row"], refused=data["reason"], usage=Usage(*data.get("usage", ())))


def _usage(tally: Tally) -> dict[str, Any]:
    usage = tally.usage
    if usage == Usage():
        return {}
    return {"usage": [usage.input_tokens, usage.output_tokens, usage.usd]}


def _overlap(spans: list[Span], known: list[Span]) -> tuple[int, int, int]:
    ours, theirs = (sum(span.end - span.start for span in some) for some in (spans, known))
    both, at = 0, 0
    for span in spans:
        while at < len(known) and known[at].end <= span.start:
            at += 1
        for one in known[at:]:
            if one.start >= span.end:
                break
            both += min(span.end, one.end) - max(span.start, one.start)
    return both, ours - both, theirs - both


def _line(data: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(data).encode() + b"\n"
    except TypeError as error:
        raise RequestError(
            f"a row cannot be written as JSON: {error}; leave that column out of the data set"
        ) from error

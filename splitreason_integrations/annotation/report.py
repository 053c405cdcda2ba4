"""Report of an annotation run: sums over rows, in constant memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.annotation.finishing import Tally
from splitreason_integrations.annotation.placement import How


@dataclass
class Report:
    """Figures over all rows of a file, rows of earlier runs included.

    Attributes:
        traces: Rows written.
        tagged: Rows with at least one span.
        seconds: Duration of this run.
        stopped: What ended this run early, if anything did.
        usd: Cost in USD.
        input_tokens: Tokens that the annotator's model read.
        output_tokens: Tokens that the annotator's model wrote.
        min_score: Smallest score of a span that was kept.
        refused: Number of refused rows by reason.
        placed: Number of placed snippets by how they were found.
        unplaced: Number of unplaced snippets by reason.

    """

    traces: int = 0
    tagged: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    min_score: float | None = None
    refused: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    unplaced: Counter[str] = field(default_factory=Counter)
    _lengths: Counter[int] = field(default_factory=Counter)
    _characters: int = 0
    _tokens: list[int] = field(default_factory=lambda: [0, 0])
    _gold: list[int] = field(default_factory=lambda: [0, 0, 0])
    _has_gold: bool = False

    def add(self, tally: Tally) -> None:
        """Add one row."""
        self.traces += 1
        self.usd += tally.usage.usd
        self.input_tokens += tally.usage.input_tokens
        self.output_tokens += tally.usage.output_tokens
        if tally.refused is not None:
            self.refused[tally.refused] += 1
            return
        self.tagged += bool(tally.lengths)
        self.placed.update(tally.placed)
        self.unplaced.update(tally.unplaced)
        self._lengths.update(tally.lengths)
        self._characters += tally.characters
        self._tokens = [a + b for a, b in zip(self._tokens, tally.tokens or (0, 0), strict=True)]
        if tally.gold is not None:
            self._has_gold = True
            self._gold = [a + b for a, b in zip(self._gold, tally.gold, strict=True)]

    @property
    def character_share(self) -> float:
        """Characters in spans ÷ characters of all traces that were not refused."""
        inside = sum(length * times for length, times in self._lengths.items())
        return inside / max(1, self._characters)

    @property
    def token_share(self) -> float | None:
        """Tokens in spans ÷ all tokens; None if no tokenizer counted them."""
        inside, of = self._tokens
        return inside / of if of else None

    def data(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        both, ours, theirs = self._gold
        gold = {"precision": both / max(1, both + ours), "recall": both / max(1, both + theirs)}
        return {
            "traces": self.traces,
            "tagged": self.tagged,
            "untagged": self.traces - self.tagged - self.refused.total(),
            "refused": self.refused.total(),
            "refused_because": dict(self.refused.most_common()),
            "spans": self._lengths.total(),
            "span_characters": {"p50": self._length_at(0.5), "p95": self._length_at(0.95)},
            "character_share": self.character_share,
            "token_share": self.token_share,
            "snippets": {how.value: self.placed[how.value] for how in How}
            | {"rejected": self.unplaced.total(), "rejected_because": dict(self.unplaced)},
            "min_score": self.min_score,
            "gold": gold if self._has_gold else None,
            "usd": self.usd,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "seconds": self.seconds,
            "stopped": self.stopped,
        }

    def _length_at(self, share: float) -> int:
        """Return the length that this fraction of spans does not exceed."""
        wanted, seen = share * self._lengths.total(), 0
        for length, times in sorted(self._lengths.items()):
            seen += times
            if seen >= wanted:
                return length
        return 0

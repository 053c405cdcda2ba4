"""The protocol of annotators, which find hard spans in traces, and what they return."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from splitreason_integrations.annotation.placement import Quote
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.annotation.tagging import Span
from splitreason_integrations.errors import RequestError


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of an annotator's model for one trace.

    Attributes:
        input_tokens: Tokens that the model read.
        output_tokens: Tokens that the model wrote.
        usd: Cost in USD.

    """

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """Findings of an annotator in one trace.

    Attributes:
        spans: Hard spans whose place is known.
        quotes: Snippets that still have to be placed in the trace.
        tokens: Number of tokens of each span, where known.
        ranks: Ordering of the spans; finer than scores, which may all round to 1.
        of_tokens: Number of tokens of the trace, where known.
        usage: Tokens and cost of the annotator's model.
        failure: Why the trace could not be annotated, if so.

    """

    spans: tuple[Span, ...] = ()
    quotes: tuple[Quote, ...] = ()
    tokens: tuple[int, ...] = ()
    ranks: tuple[float, ...] = ()
    of_tokens: int = 0
    usage: Usage = field(default_factory=Usage)
    failure: str | None = None

    def data(self) -> dict[str, Any]:
        """Return plain data, which `found_from` reads."""
        return {
            "spans": [[span.start, span.end, span.score] for span in self.spans],
            "quotes": [[quote.text, quote.score] for quote in self.quotes],
            "tokens": list(self.tokens),
            "ranks": list(self.ranks),
            "of_tokens": self.of_tokens,
            "usage": [self.usage.input_tokens, self.usage.output_tokens, self.usage.usd],
            "failure": self.failure,
        }


def found_from(data: Mapping[str, Any]) -> Found:
    """Return the findings that `Found.data` wrote."""
    return Found(
        spans=tuple(Span(*one) for one in data["spans"]),
        quotes=tuple(Quote(*one) for one in data["quotes"]),
        tokens=tuple(data["tokens"]),
        ranks=tuple(data["ranks"]),
        of_tokens=data["of_tokens"],
        usage=Usage(*data["usage"]),
        failure=data["failure"],
    )


class Annotator(Protocol):
    """Find hard spans, one batch of rows at a time.

    Two runs with equal `name` and `settings` find the same spans.

    Attributes:
        name: Name written to each annotated row.
        batch_rows: Rows per call of `find`.
        journals: Whether findings are expensive, and hence stored as they arrive so that a killed
            run does not lose them.
        scores: Whether spans have scores and ranks, and tokens are counted.
        stopped: Why rows were left out, if they were.

    """

    name: str
    batch_rows: int
    journals: bool
    scores: bool
    stopped: str | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that affect the findings, as plain data."""
        ...

    def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield (index in `rows`, findings) pairs in any order.

        If rows are left out, `stopped` says why and the run ends.

        Args:
            rows: The batch.
            spent_usd: Cost of all rows before this batch.

        """
        ...


class SnippetsAnnotator:
    """Use the snippets that rows already contain, for example from a batch API."""

    name = "snippets"
    batch_rows = 128
    journals = False
    scores = False
    stopped: str | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """No settings."""
        return {}

    async def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield the snippets of each row.

        Raises:
            RequestError: A row has no list of snippets.

        """
        for at, row in enumerate(rows):
            snippets = row.data.get("snippets")
            if not isinstance(snippets, list) or not all(isinstance(s, str) for s in snippets):
                raise RequestError(
                    f'row {row.number + 1}: "snippets" must be a list of texts, the quotes of its '
                    f"hard passages, got {snippets!r:.80}"
                )
            yield at, Found(quotes=tuple(Quote(text) for text in snippets))

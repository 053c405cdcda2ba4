"""What finds hard spans: one small protocol, whoever stands behind it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from splitreason_integrations.annotation.placement import Quote
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.annotation.tagging import Span
from splitreason_integrations.errors import RequestError


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an annotator's model read and wrote for one trace, and what they cost."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one trace: places, snippets that have yet to be placed, or a failure.

    `tokens` counts the tokens of each span, `of_tokens` those of the trace, where they are known;
    `ranks` order spans whose scores are all but 1.
    """

    spans: tuple[Span, ...] = ()
    quotes: tuple[Quote, ...] = ()
    tokens: tuple[int, ...] = ()
    ranks: tuple[float, ...] = ()
    of_tokens: int = 0
    usage: Usage = field(default_factory=Usage)
    failure: str | None = None

    def data(self) -> dict[str, Any]:
        """Return plain data that `found_from` reads."""
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
    """Return what `Found.data` described."""
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
    """Finds hard spans, a batch of rows at a time.

    `name` and `settings` say what decides: two runs that agree in both find the same. `keeps` says
    that what was found is worth keeping where a run is killed before it is written.
    """

    name: str
    batch_rows: int
    keeps: bool
    scores: bool
    """Whether spans have scores and ranks, and tokens are counted."""
    stopped: str | None
    """Why rows were left out."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides, as plain data."""
        ...

    def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield each row's place in `rows` with what was found, in any order.

        Where rows are left out, `stopped` says why, and the run ends. `spent_usd` is what all rows
        before cost.
        """
        ...


class SnippetsAnnotator:
    """Takes the snippets that rows carry already, from a batch service perhaps."""

    name = "snippets"
    batch_rows = 128
    keeps = False
    scores = False
    stopped: str | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing decides."""
        return {}

    async def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield the snippets of each row; raise RequestError where a row has none."""
        for at, row in enumerate(rows):
            snippets = row.data.get("snippets")
            if not isinstance(snippets, list) or not all(isinstance(s, str) for s in snippets):
                raise RequestError(
                    f'row {row.number + 1}: "snippets" must be a list of texts, the quotes of its '
                    f"hard passages, got {snippets!r:.80}"
                )
            yield at, Found(quotes=tuple(Quote(text) for text in snippets))

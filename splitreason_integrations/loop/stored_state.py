"""What the state of a paused request may hold: types, ranges, and what has to agree with what."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from splitreason_integrations.errors import PauseError
from splitreason_integrations.humans.stored import REMEDY, Amount, Count, Name, Stored
from splitreason_integrations.privacy.placeholders import check_kept

VERSION = 3

_READ = (2, VERSION)
_CLOSE = 1e-9
"""By how much sums of USD may differ, as a share: they are added in another order."""

_MODELS = {"small": 1, "large": 1000, "human": 0}
"""The highest number of each author's models."""

TokenIds = list[Annotated[int, Field(ge=0, lt=1 << 31)]]
Cap = Literal["max_spans", "deadline_s", "max_large_tokens", "max_offload_share", "max_usd"]


class _Sampling(Stored):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    no_repeat_ngram_size: int | None = None


class _Request(Stored):
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    response_schema: dict[str, Any] | None
    show_schema: bool = False
    must_call: bool
    max_calls: Count | None = None
    sampling: _Sampling
    max_tokens: Count | None
    max_reasoning_tokens: Count | None = None
    thinking: bool | None = None
    stop: list[str]
    seed: int
    metadata: dict[str, str]
    request_id: Annotated[Name, Field(min_length=1)]


class _Ledger(Stored):
    small: Count
    large: Count
    human: Count
    surplus: Count
    small_surplus: Count = 0
    spans: Count
    span: Count
    gap: Count
    unread: Count
    usd: Amount
    ahead_usd: Amount
    ahead_tokens: Count = 0
    elapsed_s: Amount
    span_s: Amount


class _Record(Stored):
    start_token: Count
    tokens: Count
    text: str
    opened_by: Name
    closed_by: Annotated[Name, Field(min_length=1)]
    latency_s: Amount
    cost_usd: Amount
    surplus_tokens: Count
    attempts: Annotated[Count, Field(ge=1)]
    human: str | None


class _OpenSpan(Stored):
    opened_by: Name
    usd_before: Amount
    start_token: Count
    first_piece: Count
    lengths: Annotated[list[Count], Field(min_length=2, max_length=2)] | None
    read_tokens: Count
    surplus_tokens: Count
    attempts: Annotated[Count, Field(ge=1)]
    held: TokenIds
    human: list[str]
    closed_by: Name
    exact_tokens: Count | None = None
    latency_s: Amount


class _Participant(Stored):
    synced_upto: Count
    read: Count
    written: TokenIds | None
    model: Name
    hint: str | None


_Piece = Annotated[
    tuple[Literal["small", "large", "human"], Count, TokenIds],
    Field(strict=False),
]


class StoredState(Stored):
    """The state of a paused request, as its snapshot has it."""

    version: Literal[3]
    request: _Request
    large: Count
    large_lost: bool
    elapsed_s: Amount
    degraded: bool
    exhausted: list[Cap | Literal["max_reasoning_tokens"]]
    ledger: _Ledger
    pieces: list[_Piece]
    spans: list[_Record]
    span: _OpenSpan
    hidden: dict[str, str]
    participants: Annotated[list[_Participant], Field(min_length=2, max_length=2)]
    telemetry: Annotated[dict[str, str | float], Field(default_factory=dict)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Check what is known of a value by others."""
        check_kept(self.hidden)
        for problem in (*self._span_problems(), *self._count_problems(), *self._other_problems()):
            raise ValueError(problem)
        return self

    def _span_problems(self) -> list[str]:
        span, pieces = self.span, self.pieces
        places = [*((one.start_token, one.tokens) for one in self.spans), (span.start_token, 0)]
        ends = [start + tokens for start, tokens in places]
        begun = span.lengths is not None
        return _broken(
            (span.first_piece <= len(pieces), "span.first_piece lies behind the last piece"),
            (
                span.start_token == _tokens(pieces[: span.first_piece]),
                "span.start_token is not the number of tokens before span.first_piece",
            ),
            (
                all(end <= start for end, (start, _) in zip(ends, places[1:], strict=False)),
                "spans overlap: a start_token lies before the end of the span before it",
            ),
            (
                begun == bool(span.closed_by),
                "span.closed_by and span.lengths disagree on whether the large model has written",
            ),
            (begun or not span.held, "span.held has tokens of a span that has not begun"),
            (not begun or bool(span.held), "span.held is empty, and there is nothing to accept"),
        )

    def _count_problems(self) -> list[str]:
        ledger, span, records = self.ledger, self.span, self.spans
        written = dict.fromkeys(("small", "large", "human"), 0)
        for author, _, ids in self.pieces:
            written[author] += len(ids)
        paid = sum(one.cost_usd for one in records)
        return _broken(
            (ledger.small == written["small"], "ledger.small is not what pieces hold of it"),
            (
                ledger.large == written["large"] + len(span.held),
                "ledger.large is not what pieces and span.held hold of it",
            ),
            (ledger.human == written["human"], "ledger.human is not what pieces hold of it"),
            (ledger.spans == len(records) + 1, "ledger.spans is not the number of spans"),
            (
                ledger.span == len(span.held) + _tokens(self.pieces[span.first_piece :]),
                "ledger.span is not the length of the open span",
            ),
            (ledger.gap <= ledger.small, "ledger.gap is more than the small model has written"),
            (
                ledger.surplus >= sum(one.surplus_tokens for one in records) + span.surplus_tokens,
                "ledger.surplus is less than the spans have",
            ),
            (
                _least(span.usd_before, paid + ledger.ahead_usd),
                "span.usd_before is less than the spans before cost",
            ),
            (_least(ledger.usd, span.usd_before), "ledger.usd is less than span.usd_before"),
        )

    def _other_problems(self) -> list[str]:
        request_cap = self.request.max_tokens
        tokens = self.ledger.small + self.ledger.large + self.ledger.human
        return _broken(
            (len(set(self.exhausted)) == len(self.exhausted), "exhausted names a cap twice"),
            (
                all(number <= _MODELS[author] for author, number, _ in self.pieces),
                "pieces names a model that nobody is",
            ),
            (self.participants[0].hint is None, "participants.0.hint: the small model has none"),
            (
                self.span.lengths is None or self.participants[1].written is not None,
                "participants.1.written lacks what the large model has written",
            ),
            (
                all(one.synced_upto <= len(self.pieces) for one in self.participants),
                "participants: a synced_upto lies behind the last piece",
            ),
            (
                request_cap is None or tokens <= request_cap,
                "ledger counts more tokens than request.max_tokens",
            ),
        )


def of_this_version(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state in this version's words; raise PauseError for one of an unknown version."""
    version = state.get("version")
    if isinstance(version, bool) or version not in _READ:
        raise PauseError(
            f"the request was paused by another version (snapshot version {str(version)[:20]}, "
            f"this one reads 2 and {VERSION}); ask anew"
        )
    return _from_version_2(state) if version == 2 else dict(state)


def _from_version_2(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a snapshot of version 2, which named two keys otherwise, as this version's."""
    rest = {name: value for name, value in state.items() if name != "seats"}
    kept = state.get("seats")
    if not isinstance(kept, list) or not all(isinstance(one, dict) for one in kept):
        raise PauseError(f"state.seats: should be a list of tables; {REMEDY}")
    renamed = {"told": "synced_upto"}
    places = [{renamed.get(name, name): value for name, value in one.items()} for one in kept]
    return {**rest, "version": VERSION, "participants": places}


def _tokens(pieces: Sequence[tuple[str, int, list[int]]]) -> int:
    return sum(len(ids) for _, _, ids in pieces)


def _least(value: float, least: float) -> bool:
    return value >= least or math.isclose(value, least, rel_tol=_CLOSE, abs_tol=_CLOSE)


def _broken(*rules: tuple[bool, str]) -> list[str]:
    return [problem for holds, problem in rules if not holds]

"""What a finished request leaves: the reply, its spans, its tokens and what it cost."""

import time
from itertools import groupby

from splitreason_integrations.decide.orders import REASONING_CAP
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.loop.transcript import SMALL
from splitreason_integrations.records import (
    Author,
    Channel,
    Completion,
    Piece,
    Writer,
    token_ids,
)


def completion_of(state: RequestState) -> Completion:
    """Return the completion of a request that has ended."""
    transcript, machine, ledger = state.transcript, state.machine, state.machine.ledger
    reader, settings = transcript.reader, state.settings
    pieces = tuple(
        Piece(author, tuple(token_ids(list(group))), model)
        for (author, model), group in groupby(transcript.pieces, key=_writer)
    )
    return Completion(
        request_id=state.request.request_id,
        reasoning=reader.text(Channel.REASONING),
        answer=reader.text(Channel.ANSWER),
        tool_calls=reader.tool_calls,
        pieces=pieces,
        spans=tuple(state.spans.records),
        prompt_tokens=state.small.prompt_tokens,
        small_tokens=ledger.small,
        large_tokens=ledger.large,
        reasoning_tokens=transcript.reasoning_tokens,
        stop_reason=machine.stop_reason,
        latency_s=time.monotonic() - state.settings.started_s - state.loading.local_s,
        cost_usd=ledger.usd + _small_cost_usd(state),
        human_tokens=ledger.human,
        read_ahead_usd=ledger.ahead_usd,
        read_ahead_tokens=ledger.ahead_tokens,
        small_surplus_tokens=ledger.small_surplus,
        degraded=machine.degraded,
        seed=state.settings.seed,
        trigger=str(settings.trigger),
        close=str(settings.close) if settings.trigger.opens_spans and settings.hands_back else "",
        choice_reason=settings.choice_reason,
        loading_s=state.loading.local_s,
        max_reasoning_tokens=machine.policy.max_reasoning_tokens,
        reasoning_was_ended=REASONING_CAP in machine.exhausted,
        runs=transcript.runs(),
    )


def _writer(piece: Piece) -> Writer:
    return SMALL if piece.author is Author.SMALL else piece.writer


def _small_cost_usd(state: RequestState) -> float:
    """Return what the small model's tokens cost, the reading of spans included."""
    written = state.machine.ledger.small + state.machine.ledger.small_surplus
    return state.small.model.prices.cost_usd(
        input_tokens=state.small.read_tokens, output_tokens=written
    )

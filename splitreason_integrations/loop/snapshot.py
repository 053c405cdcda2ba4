"""A paused request as plain data: token ids and counts, no caches.

Sampling goes by position, so what is written after `restore` is what would have been written.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from splitreason_integrations.decide.ledger import Ledger
from splitreason_integrations.decide.machine import State
from splitreason_integrations.errors import PauseError, SessionError
from splitreason_integrations.humans.human import Question
from splitreason_integrations.humans.stored import REMEDY
from splitreason_integrations.loop.approval import question_of
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.spans import OpenSpan
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.loop.stored_state import VERSION
from splitreason_integrations.records import Author, Delta, SpanRecord

TELEMETRY_KEY = "telemetry"
"""Where a paused request keeps what links its continuation to the first trace."""


def take_snapshot(state: RequestState) -> dict[str, Any]:
    """Return the state of a request that waits for an answer, as JSON can hold it."""
    span = asdict(state.spans.current)
    span["latency_s"] = time.monotonic() - span.pop("started_s")
    return {
        "version": VERSION,
        "request": state.request.data(),
        "large": state.large.writer[1],
        "large_lost": state.handback.large_lost,
        "elapsed_s": state.elapsed_s,
        "degraded": state.machine.degraded,
        "exhausted": list(state.machine.exhausted),
        "ledger": asdict(state.machine.ledger),
        "pieces": [[str(p.author), p.model, list(p.token_ids)] for p in state.transcript.pieces],
        "spans": [asdict(record) for record in state.spans.records],
        "span": span,
        "hidden": state.vault.kept if state.vault else {},
        "participants": [_participant(state.small), _participant(state.large)],
        TELEMETRY_KEY: state.telemetry_context(),
    }


def _participant(participant: Participant) -> dict[str, Any]:
    written = participant.written
    return {
        "synced_upto": participant.synced_upto,
        "read": participant.read_tokens,
        "written": None if written is None else list(written),
        "model": participant.codec.fingerprint,
        "hint": participant.hint,
    }


async def restore(state: RequestState, saved: Mapping[str, Any]) -> list[Delta]:
    """Bring a fresh state to where a request was paused; return the reply so far.

    Raises PauseError where the snapshot is of other models.
    """
    deltas: list[Delta] = []
    for author, model, ids in saved["pieces"]:
        deltas += state.transcript.add((Author(author), model), ids)
    pair = (state.small, state.large)
    for participant, place in zip(pair, saved["participants"], strict=True):
        await _restore_participant(participant, place)
    if saved["large_lost"]:
        state.handback.lose_large()
    machine = state.machine
    machine.state, machine.degraded = State.WAITING, saved["degraded"]
    machine.ledger = Ledger(**saved["ledger"])
    machine.exhausted = list(saved["exhausted"])
    state.spans.records = [SpanRecord(**record) for record in saved["spans"]]
    span = dict(saved["span"])
    lengths = span.pop("lengths")
    if lengths is not None:
        _check_lengths(state, lengths)
    state.spans.reopen(
        OpenSpan(
            started_s=time.monotonic() - span.pop("latency_s"),
            lengths=None if lengths is None else (lengths[0], lengths[1]),
            **span,
        )
    )
    return deltas


def check_question(state: RequestState, question: Question) -> None:
    """Raise PauseError where a person was shown another text than the restored request has."""
    asked = question_of(state)
    for name in ("context", "text"):
        if getattr(asked, name) != getattr(question, name):
            raise PauseError(
                f"question.{name} is not what the request had written when it was paused; {REMEDY}"
            )


async def _restore_participant(participant: Participant, saved: Mapping[str, Any]) -> None:
    if saved["model"] != participant.codec.fingerprint:
        raise PauseError(
            f"the request was paused with another {participant.author} model than "
            f"{participant.model.name}; continue it with the models that began it"
        )
    if (hint := saved.get("hint")) is not None:
        await participant.show_hint(hint)
    try:
        participant.restore(
            synced_upto=saved["synced_upto"], read_tokens=saved["read"], written=saved["written"]
        )
    except SessionError as error:
        raise PauseError.of(f"{error}; {REMEDY}") from error


def _check_lengths(state: RequestState, lengths: Sequence[int]) -> None:
    """Check that both sessions can be cut to where the open span begins in them."""
    reads = (state.settings.hands_back, not state.handback.large_lost)
    for participant, length, is_cut in zip((state.small, state.large), lengths, reads, strict=True):
        least, most = participant.prompt_tokens, participant.session.length
        if is_cut and not least <= length <= most:
            raise PauseError(
                f"state.span.lengths: {length} lies outside of what the {participant.author} "
                f"model has written, {least} to {most}; {REMEDY}"
            )

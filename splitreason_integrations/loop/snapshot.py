"""A request as plain data while it waits for a person: token ids and counts, no caches.

Sampling goes by position, so what is written after `restore` is what would have been written.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from splitreason_integrations.decide.ledger import Ledger
from splitreason_integrations.decide.machine import State
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.spans import OpenSpan
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.records import Author, Delta, SpanRecord

VERSION = 2

TELEMETRY_KEY = "telemetry"
"""Where a paused request keeps what links its continuation to the first trace."""


def take_snapshot(state: RequestState) -> dict[str, Any]:
    """Return the state of a request that waits for an answer."""
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
        "seats": [_participant(state.small), _participant(state.large)],
        TELEMETRY_KEY: state.keep(),
    }


def _participant(participant: Participant) -> dict[str, Any]:
    written = participant.written
    return {
        "told": participant.synced_upto,
        "read": participant.read_tokens,
        "written": None if written is None else list(written),
        "model": participant.codec.fingerprint,
        "hint": participant.hint,
    }


def restore(state: RequestState, saved: Mapping[str, Any]) -> list[Delta]:
    """Bring a fresh state to where a request was put aside; return the reply so far.

    Raises ConfigurationError where the state is of another version or of other models.
    """
    if saved.get("version") != VERSION:
        raise ConfigurationError(
            f"the request was put aside by another version ({saved.get('version')!r}, this one "
            f"writes {VERSION}); ask anew"
        )
    deltas: list[Delta] = []
    for author, model, ids in saved["pieces"]:
        deltas += state.transcript.add((Author(author), model), ids)
    for participant, place in zip((state.small, state.large), saved["seats"], strict=True):
        _restore_seat(participant, place)
    if saved["large_lost"]:
        state.handback.lose_large()
    machine = state.machine
    machine.state, machine.degraded = State.WAITING, saved["degraded"]
    machine.ledger = Ledger(**saved["ledger"])
    machine.exhausted = list(saved["exhausted"])
    state.spans.records = [SpanRecord(**record) for record in saved["spans"]]
    span = dict(saved["span"])
    lengths = span.pop("lengths")
    state.spans.reopen(
        OpenSpan(
            started_s=time.monotonic() - span.pop("latency_s"),
            lengths=None if lengths is None else (lengths[0], lengths[1]),
            **span,
        )
    )
    return deltas


def _restore_seat(participant: Participant, saved: Mapping[str, Any]) -> None:
    if saved["model"] != participant.codec.fingerprint:
        raise ConfigurationError(
            f"the request was put aside with another {participant.author} model than "
            f"{participant.model.name}; continue it with the models that began it"
        )
    if (hint := saved.get("hint")) is not None:
        participant.ask_with_hint(hint)
    participant.synced_upto = saved["told"]
    participant.read_before = saved["read"]
    if saved["written"] is not None:
        participant.open_again(saved["written"])

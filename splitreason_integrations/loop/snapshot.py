"""A paused request as plain data: token ids and counts, no caches.

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

VERSION = 3

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


def read_snapshot(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a snapshot in this version's words.

    Raises ConfigurationError, which names the version, for one that this version cannot read.
    """
    if saved.get("version") == 2:
        return _from_version_2(saved)
    if saved.get("version") != VERSION:
        raise ConfigurationError(
            f"the request was paused by another version (snapshot version "
            f"{saved.get('version')!r}, this one reads 2 and {VERSION}); ask anew"
        )
    return saved


async def restore(state: RequestState, saved: Mapping[str, Any]) -> list[Delta]:
    """Bring a fresh state to where a request was paused; return the reply so far.

    Raises ConfigurationError where the snapshot is of other models.
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
    state.spans.reopen(
        OpenSpan(
            started_s=time.monotonic() - span.pop("latency_s"),
            lengths=None if lengths is None else (lengths[0], lengths[1]),
            **span,
        )
    )
    return deltas


async def _restore_participant(participant: Participant, saved: Mapping[str, Any]) -> None:
    if saved["model"] != participant.codec.fingerprint:
        raise ConfigurationError(
            f"the request was paused with another {participant.author} model than "
            f"{participant.model.name}; continue it with the models that began it"
        )
    if (hint := saved.get("hint")) is not None:
        await participant.show_hint(hint)
    participant.restore(
        synced_upto=saved["synced_upto"], read_tokens=saved["read"], written=saved["written"]
    )


def _from_version_2(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a snapshot of version 2, which named two keys otherwise, as this version's."""
    places = [{**place, "synced_upto": place["told"]} for place in saved["seats"]]
    return {**saved, "version": VERSION, "participants": places}

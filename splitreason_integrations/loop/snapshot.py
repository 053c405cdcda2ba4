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
from splitreason_integrations.loop.participant import Seat
from splitreason_integrations.loop.spans import OpenSpan
from splitreason_integrations.loop.state import Desk
from splitreason_integrations.records import Author, Delta, SpanRecord
from splitreason_integrations.telemetry.asked import KEPT_AS

VERSION = 2


def take_snapshot(desk: Desk) -> dict[str, Any]:
    """Return the state of a request that waits for an answer."""
    span = asdict(desk.spans.current)
    span["latency_s"] = time.monotonic() - span.pop("started_s")
    return {
        "version": VERSION,
        "request": desk.request.data(),
        "large": desk.large.writer[1],
        "large_lost": desk.handback.large_lost,
        "elapsed_s": desk.elapsed_s,
        "degraded": desk.machine.degraded,
        "exhausted": list(desk.machine.exhausted),
        "ledger": asdict(desk.machine.ledger),
        "pieces": [[str(p.author), p.model, list(p.token_ids)] for p in desk.transcript.pieces],
        "spans": [asdict(record) for record in desk.spans.records],
        "span": span,
        "hidden": desk.vault.kept if desk.vault else {},
        "seats": [_seat(desk.small), _seat(desk.large)],
        KEPT_AS: desk.keep(),
    }


def _seat(seat: Seat) -> dict[str, Any]:
    written = seat.written
    return {
        "told": seat.told,
        "read": seat.read_tokens,
        "written": None if written is None else list(written),
        "model": seat.codec.fingerprint,
        "hint": seat.hint,
    }


def restore(desk: Desk, state: Mapping[str, Any]) -> list[Delta]:
    """Bring a fresh desk to where a request was put aside; return the reply so far.

    Raises ConfigurationError where the state is of another version or of other models.
    """
    if state.get("version") != VERSION:
        raise ConfigurationError(
            f"the request was put aside by another version ({state.get('version')!r}, this one "
            f"writes {VERSION}); ask anew"
        )
    deltas: list[Delta] = []
    for author, model, ids in state["pieces"]:
        deltas += desk.transcript.add((Author(author), model), ids)
    for seat, saved in zip((desk.small, desk.large), state["seats"], strict=True):
        _restore_seat(seat, saved)
    if state["large_lost"]:
        desk.handback.lose_large()
    machine = desk.machine
    machine.state, machine.degraded = State.WAITING, state["degraded"]
    machine.ledger = Ledger(**state["ledger"])
    machine.exhausted = list(state["exhausted"])
    desk.spans.records = [SpanRecord(**record) for record in state["spans"]]
    span = dict(state["span"])
    lengths = span.pop("lengths")
    desk.spans.reopen(
        OpenSpan(
            started_s=time.monotonic() - span.pop("latency_s"),
            lengths=None if lengths is None else (lengths[0], lengths[1]),
            **span,
        )
    )
    return deltas


def _restore_seat(seat: Seat, saved: Mapping[str, Any]) -> None:
    if saved["model"] != seat.codec.fingerprint:
        raise ConfigurationError(
            f"the request was put aside with another {seat.author} model than {seat.model.name}; "
            "continue it with the models that began it"
        )
    if (hint := saved.get("hint")) is not None:
        seat.ask_with_hint(hint)
    seat.told = saved["told"]
    seat.read_before = saved["read"]
    if saved["written"] is not None:
        seat.open_again(saved["written"])

"""What one request works on: its settings, models, transcript and books, and the clock."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from splitreason_integrations import events
from splitreason_integrations.decide.machine import Machine
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.humans.human import HumanCheck
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.spans import SpanTracker
from splitreason_integrations.loop.transcript import Transcript
from splitreason_integrations.privacy.redaction import Vault
from splitreason_integrations.records import Delta
from splitreason_integrations.request import Request

Item = Delta | events.Event
Items = Sequence[Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one request runs with, all defaults filled in."""

    trigger: Trigger
    seed: int
    close_threshold: float
    handback_tokens: int
    prefill_tokens: int | None
    on_large_failure: str
    started_s: float
    retry: Retry
    human_check: HumanCheck | None

    @property
    def hands_back(self) -> bool:
        """Whether the small model reads along and ends the spans."""
        return self.trigger.hands_back


@dataclass(slots=True)
class RequestState:
    """The shared state of one request. `large` is the large model whose turn it is.

    `handback` belongs to the open span, `until_s` is when it has to end at the latest (a time of
    `time.monotonic()`). `waited_s` is the time that people took to answer: no deadline counts it.
    `vault` holds what is hidden from remote models, `keep` gives what telemetry puts into a
    snapshot.
    """

    settings: Settings
    request: Request
    machine: Machine
    small: Participant
    large: Participant
    transcript: Transcript
    spans: SpanTracker
    handback: Handback
    keep: Callable[[], dict[str, Any]] = dict
    until_s: float | None = None
    waited_s: float = 0.0
    vault: Vault | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request began, waiting for people left out."""
        return time.monotonic() - self.settings.started_s - self.waited_s

    @property
    def deadline_s(self) -> float | None:
        """The time of `time.monotonic()` at which the request ends."""
        deadline = self.machine.policy.deadline_s
        if deadline is None:
            return None
        return self.settings.started_s + deadline + self.waited_s

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens so far."""
        ledger = self.machine.ledger
        return ledger.large / max(1, ledger.small + ledger.large)

    @property
    def is_late(self) -> bool:
        """Whether the open span has used up its time."""
        return self.until_s is not None and time.monotonic() >= self.until_s

    def close(self) -> None:
        """Free both caches."""
        self.small.close()
        self.large.close()

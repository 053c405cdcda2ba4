"""Mutable state of one request: settings, participants, transcript, spans, clock and outbox.

Whatever works on a request emits its deltas and events here; only the request loop yields them.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from splitreason_integrations import events
from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.machine import Machine
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.humans.human import HumanCheck
from splitreason_integrations.humans.signing import Keys
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.loading import Loading
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.spans import SpanTracker
from splitreason_integrations.loop.transcript import Transcript
from splitreason_integrations.privacy.redaction import Vault
from splitreason_integrations.records import Delta, Writer
from splitreason_integrations.request import Request
from splitreason_integrations.text.thoughts import call_tokens, opening_tokens

Item = Delta | events.Event

Step = Callable[[], Awaitable[None]]
"""A part of the work on a request; what it emits is yielded before the next one begins."""


class Writing(Protocol):
    """A model's writing that is under way."""

    async def aclose(self) -> None:
        """Stop the model, and wait until it has stopped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The engine's settings for one request, with all defaults filled in.

    Attributes:
        trigger: opens spans.
        choice_reason: why the trigger or the close rule was chosen; None where both were named.
        seed: of all draws of this request.
        close: says where a span ends.
        handback_tokens: how many tokens of one model the other one reads at a time.
        prefill_tokens: how many unread tokens start a prefill; None for no prefill.
        on_large_failure: `small` or `raise`.
        started_s: when the request began, by `time.monotonic()`.
        retry: how failing models are called again.
        human_check: who is asked about spans; None for nobody.
        pause_keys: what signs the request where it is paused.

    """

    trigger: Trigger
    choice_reason: str | None
    seed: int
    close: CloseRule
    handback_tokens: int
    prefill_tokens: int | None
    on_large_failure: str
    started_s: float
    retry: Retry
    human_check: HumanCheck | None
    pause_keys: Keys

    @property
    def hands_back(self) -> bool:
        """Whether the small model reads along and ends the spans."""
        return self.trigger.hands_back


@dataclass(frozen=True, slots=True)
class Unreached:
    """A large model that could not be loaded or used: its public name, and why."""

    model: str
    error: Exception


@dataclass(slots=True)
class RequestState:
    """Everything that changes while one request runs.

    Attributes:
        settings: the engine's settings for this request.
        request: the request as it was made.
        machine: decides what comes next.
        small: the small model at work on this request.
        large_model: the large model that writes the spans now; None while none is loaded.
        transcript: the reply so far.
        spans: the open span and the records of those that ended.
        handback: both sessions of the open span.
        loading: loads the models; knows how long local weights took.
        unreached: large models that could not be loaded, until the first handoff reports them.
        telemetry_context: returns what telemetry keeps in a snapshot.
        span_ends_s: when the open span has to end at the latest, by `time.monotonic()`.
        waited_s: seconds that people took to answer.
        vault: what is hidden from remote models; None where nothing is.
        outbox: deltas and events that have not been yielded yet.
        steps: what is to be done before the machine is asked for its next order.
        writing: the writing under way; None between two.
        ends_reasoning: whether the reasoning is ended where the small model goes on: a large one
            ended its reply within it.

    """

    settings: Settings
    request: Request
    machine: Machine
    small: Participant
    large_model: Participant | None
    transcript: Transcript
    spans: SpanTracker
    handback: Handback
    loading: Loading
    unreached: list[Unreached] = field(default_factory=list)
    telemetry_context: Callable[[], dict[str, Any]] = dict
    span_ends_s: float | None = None
    waited_s: float = 0.0
    vault: Vault | None = None
    outbox: deque[Item] = field(default_factory=deque)
    steps: deque[Step] = field(default_factory=deque)
    writing: Writing | None = None
    ends_reasoning: bool = False

    @property
    def large(self) -> Participant:
        """The large model that writes the spans now."""
        assert self.large_model is not None, "no large model is loaded"
        return self.large_model

    @property
    def excluded_s(self) -> float:
        """Seconds that no deadline counts: waiting for people, and loading of local weights."""
        return self.waited_s + self.loading.local_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request began that count towards its deadline."""
        return time.monotonic() - self.settings.started_s - self.excluded_s

    @property
    def deadline_s(self) -> float | None:
        """When the request ends at the latest, by `time.monotonic()`."""
        deadline = self.machine.policy.deadline_s
        if deadline is None:
            return None
        return self.settings.started_s + deadline + self.excluded_s

    @property
    def reasoning_left(self) -> int | None:
        """Tokens that may still be reasoning; None without a cap, and where the reply answers."""
        held = len(self.spans.current.held) if self.spans.is_open else 0
        return self.transcript.reasoning_left(held)

    @property
    def may_open_here(self) -> bool:
        """Whether a span may open in this part of the reply."""
        if self.reasoning_left == 0 and self.transcript.reasons:
            return False
        return self.machine.policy.opens_in(self.transcript.channel)

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens so far."""
        ledger = self.machine.ledger
        return ledger.large / max(1, ledger.small + ledger.large)

    @property
    def is_late(self) -> bool:
        """Whether the open span has used up its time."""
        return self.span_ends_s is not None and time.monotonic() >= self.span_ends_s

    def unwanted(self, participant: Participant) -> Sequence[int]:
        """Return the tokens that a participant may not write here.

        They are those that begin a thought, and right behind an end of the reasoning that its cap
        has brought, those that end the reply: an answer has to follow, which a grammar sees to
        where there is one. Where no call may come out, they are those that begin one, too.
        """
        transcript, codec = self.transcript, participant.codec
        is_free = transcript.lacks_answer and participant.guide is None
        ends = sorted(codec.end_tokens) if is_free else []
        ends += call_tokens(codec) if self.request.max_calls == 0 else ()
        if transcript.may_think or transcript.reasons:
            return ends
        return [*opening_tokens(codec), *ends]

    def emit(self, *items: Item) -> None:
        """Put deltas and events into the outbox."""
        self.outbox.extend(items)

    def then(self, step: Step) -> None:
        """Run a step next, once the outbox is empty."""
        self.steps.append(step)

    def write(self, writer: Writer, token_ids: Sequence[int]) -> int:
        """Append tokens to the reply and emit what they show; return how many were kept."""
        before = self.transcript.tokens
        self.emit(*self.transcript.add(writer, token_ids))
        return self.transcript.tokens - before

    async def stop_writing(self) -> None:
        """End the writing that is under way, if there is one."""
        writing, self.writing = self.writing, None
        if writing is not None:
            await writing.aclose()

    async def aclose(self) -> None:
        """Stop both models and free their caches; called however the request ends."""
        try:
            await self.stop_writing()
        finally:
            self.loading.close()
            self.small.close()
            if self.large_model is not None:
                self.large_model.close()

"""A request as metrics: tokens, share, cost, time, and failures.

Attributes take few values each: no trigger's text, no person, no request's own metadata.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from splitreason_integrations import events
from splitreason_integrations.backends.registry import public_name
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.records import Author, Completion, Delta
from splitreason_integrations.telemetry import names
from splitreason_integrations.telemetry.attributes import shared_attributes
from splitreason_integrations.telemetry.instruments import Instruments
from splitreason_integrations.telemetry.request_facts import RequestFacts


class Metering:
    """Counts one request. The continuation of a paused request does not count its start again."""

    def __init__(self, instruments: Instruments, facts: RequestFacts) -> None:
        self._to = instruments
        self._request = facts
        self._shared = shared_attributes(facts.pair)
        self._started_s = 0.0
        self._is_first = facts.state is None
        self._tokens = Counter({Author.SMALL: 0, Author.LARGE: 0})
        self._counted_usd = 0.0
        self._asked_unix_s: float | None = None
        self._model = ""

    def start(self) -> None:
        """Start the clock."""
        self._started_s = time.monotonic()
        if self._request.state is not None:
            self._counted_usd = sum(span["cost_usd"] for span in self._request.state["spans"])
            asked_unix_s = self._request.saved_context.get("asked_unix_s")
            self._asked_unix_s = asked_unix_s if isinstance(asked_unix_s, float) else None

    def observe(self, item: object) -> None:
        """Count an item."""
        match item:
            case Delta():
                self._tokens[item.author] += len(item.token_ids)
                if self._is_first and item.text:
                    self._is_first = False
                    self._to.time_to_first_chunk.record(self._elapsed_s, self._shared)
            case events.Event():
                count = EVENTS.get(type(item))
                if count is not None:
                    count(self, item)
            case Completion():
                self._finish(item)
            case Paused():
                self._end(names.WAITING, {})

    def end_early(self, error: BaseException) -> None:
        """Count a request that failed, was cancelled or was closed early."""
        outcome = names.outcome_of(error)
        if outcome == names.CANCELLED:
            self._end(outcome, {})
            return
        failed = {names.ERROR_TYPE: type(error).__qualname__}
        self._to.operation_duration.record(self._elapsed_s, self._with(failed))
        self._end(outcome, failed)

    def handoff_started(self, event: events.HandoffStarted) -> None:
        """Keep the name of the large model."""
        self._model = event.model

    def handoff_finished(self, event: events.HandoffFinished) -> None:
        """Record a handoff's latency and cost."""
        facts = self._of_large(self._model, {names.CLOSED_BY: event.closed_by})
        self._to.handoff_latency.record(event.latency_s, facts)
        self._pay(event.cost_usd, Author.LARGE)

    def handoff_retried(self, event: events.HandoffRetried) -> None:
        """Count a call that is made again."""
        facts = self._of_large(event.model, {names.ERROR_TYPE: event.error})
        self._to.retries.add(1, facts)

    def handoff_failed(self, event: events.HandoffFailed) -> None:
        """Count a large model that failed for good."""
        facts = self._of_large(event.model, {names.ERROR_TYPE: event.error})
        self._to.failures.add(1, facts)

    def handoff_fell_back(self, event: events.HandoffFellBack) -> None:
        """Count a model that took over."""
        self._to.fallbacks.add(1, self._with({names.TO: public_name(event.to)}))

    def human_answered(self, event: events.HumanAnswered) -> None:
        """Record how long a person took."""
        facts = self._with({names.MOMENT: event.moment, names.DECISION: str(event.decision)})
        self._to.human_wait.record(self._waited_s(event), facts)

    def budget_exhausted(self, event: events.BudgetExhausted) -> None:
        """Count a cap that was reached."""
        self._to.exhausted.add(1, self._with({names.CAP: event.cap}))

    def _finish(self, reply: Completion) -> None:
        self._to.operation_duration.record(reply.latency_s, self._shared)
        for kind, tokens in (("input", reply.prompt_tokens), ("output", reply.tokens)):
            self._to.token_usage.record(tokens, self._with({names.TOKEN_TYPE: kind}))
        self._to.offload_share.record(reply.offload_share, self._shared)
        if reply.read_ahead_tokens:
            self._to.read_ahead.add(reply.read_ahead_tokens, self._shared)
        if reply.small_surplus_tokens:
            self._to.small_surplus.add(reply.small_surplus_tokens, self._shared)
        # Each handoff's cost is counted as it finishes; the rest is the small model's.
        self._pay(reply.read_ahead_usd, Author.LARGE)
        self._pay(max(0.0, reply.cost_usd - self._counted_usd), Author.SMALL)
        self._end(names.FINISHED, {names.DEGRADED: reply.degraded})

    def _end(self, outcome: str, facts: dict[str, Any]) -> None:
        for author, tokens in self._tokens.items():
            self._to.tokens.add(tokens, self._with({names.AUTHOR: author.value}))
        self._to.requests.add(1, self._with({names.OUTCOME: outcome, **facts}))

    def _pay(self, usd: float, author: Author) -> None:
        self._counted_usd += usd
        self._to.cost.add(usd, self._with({names.AUTHOR: author.value}))

    def _waited_s(self, event: events.HumanAnswered) -> float:
        """Return how long a person took, including the time for which the request was paused."""
        asked_unix_s, self._asked_unix_s = self._asked_unix_s, None
        return event.waited_s if asked_unix_s is None else max(0.0, time.time() - asked_unix_s)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _with(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {**self._shared, **facts}

    def _of_large(self, model: str, facts: dict[str, Any]) -> dict[str, Any]:
        return self._with({names.LARGE_MODEL: public_name(model), **facts})


EVENTS: Mapping[type[events.Event], Callable[[Metering, Any], None] | None] = {
    events.RulesChosen: None,
    events.HandoffRequested: None,
    events.HumanAsked: None,
    events.HumanAnswered: Metering.human_answered,
    events.HandoffApproved: None,
    events.HandoffRefused: None,
    events.HandoffStarted: Metering.handoff_started,
    events.HandoffFinished: Metering.handoff_finished,
    events.HandoffRetried: Metering.handoff_retried,
    events.HandoffFailed: Metering.handoff_failed,
    events.HandoffFellBack: Metering.handoff_fell_back,
    events.SettingLeftOut: None,
    events.BudgetExhausted: Metering.budget_exhausted,
}
"""How each event is counted; None for an event that no metric counts."""

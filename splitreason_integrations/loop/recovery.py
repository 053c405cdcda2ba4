"""A large model that fails: the call is made again, or the next large model goes on.

What was received is never lost and never asked for twice.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable

from splitreason_integrations.decide.machine import State
from splitreason_integrations.decide.resilience import Attempts, breaker_of
from splitreason_integrations.errors import CircuitOpenError, LargeModelError
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.state import Item, RequestState

NextLarge = Callable[[int], Awaitable[Participant]]
"""Returns the large model with a number; raises LookupError behind the last one."""


class Recovery:
    """Attempts within a span, and the large models behind the first."""

    def __init__(self, state: RequestState, next_large: NextLarge) -> None:
        self._state = state
        self._next_large = next_large
        self._attempts = Attempts(state.settings.retry)

    def begin(self) -> None:
        """Count from one again: a span begins, or another model writes in it."""
        self._attempts = Attempts(self._state.settings.retry)

    def wait_s(self, error: Exception, length: int) -> float | None:
        """Return how long to wait before the call is made again; None where it is not.

        The session is opened anew with the `length` tokens that are known to stand in it: the old
        one may be broken, or still at work.
        """
        state = self._state
        if not isinstance(error, CircuitOpenError):
            breaker_of(state.large.model, state.settings.retry).failed()
        wait_s = self._attempts.wait_s(error, until_s=state.until_s)
        if wait_s is None or not state.large.is_open:
            state.handback.lose_large()
            return wait_s
        known = state.large.session.token_ids[state.large.prompt_tokens : length]
        state.large.open_again(known)
        return wait_s

    def retried(self, error: Exception, wait_s: float) -> Item:
        """Tell that the call is made again."""
        name, attempt = self._state.large.model.name, self._attempts.count - 1
        return self._state.spans.retried(error, name, attempt=attempt, wait_s=wait_s)

    async def fall_back(self, error: Exception, failed: Item) -> AsyncGenerator[Item, None]:
        """Let the next large model that can go on do so; mark the request as degraded if none can.

        Raises LargeModelError instead, where that was asked for.
        """
        state = self._state
        yield failed
        for number in itertools.count(state.large.writer[1] + 1):
            if state.is_late:
                break
            try:
                participant = await self._next_large(number)
                items = self._participant(participant)
            except LookupError:
                break
            except Exception as another:  # noqa: BLE001 - any failure of a large model is survived
                yield state.spans.failed(another, f"large model {number}")
                error = another
                continue
            for item in items:
                yield item
            return
        if state.settings.on_large_failure == "raise":
            raise LargeModelError(
                f"{state.large.model.name} failed: {error}; set on_large_failure='small' to let "
                "the small model finish instead"
            ) from error
        state.machine.degraded = True

    def _participant(self, participant: Participant) -> list[Item]:
        """Put another large model in the failed one's place, in the middle of a span if need be."""
        state, failed = self._state, self._state.large
        if state.machine.state is State.LARGE and state.spans.current.has_begun:
            self._tell_of_span(participant, failed)
            started = [state.spans.start_again(participant)]
        else:
            started = []
        failed.close()
        state.large, machine = participant, state.machine
        machine.prices = machine.policy.prices_of(participant.model.name, participant.model.prices)
        self.begin()
        return [state.spans.fell_back(participant.model.name), *started]

    def _tell_of_span(self, participant: Participant, failed: Participant) -> None:
        state, span = self._state, self._state.spans.current
        participant.sync(state.transcript.pieces[: span.first_piece])
        span.lengths = (span.lengths[0] if span.lengths else 0, participant.session.length)
        if state.settings.hands_back:
            participant.session.extend(participant.tags.open_tokens)
        participant.sync(state.transcript.pieces)
        if span.held:
            converted = participant.bridge_from(failed.codec).convert(span.held)
            participant.session.extend(converted.token_ids)
        state.handback.take_over(participant)

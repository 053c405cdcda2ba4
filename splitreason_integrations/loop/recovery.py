"""A large model that fails: the call is made again, or the next large model goes on.

What was received is never lost and never asked for twice.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable

from splitreason_integrations.decide.machine import State
from splitreason_integrations.decide.resilience import Attempts, breaker_of
from splitreason_integrations.errors import CircuitOpenError, LargeModelError
from splitreason_integrations.loop.participant import Seat
from splitreason_integrations.loop.state import Desk, Item

NextLarge = Callable[[int], Awaitable[Seat]]
"""Gives the seat of the large model with a number; raises LookupError behind the last one."""


class Recovery:
    """Attempts within a span, and the large models behind the first."""

    def __init__(self, desk: Desk, next_large: NextLarge) -> None:
        self._desk = desk
        self._next_large = next_large
        self._attempts = Attempts(desk.settings.retry)

    def begin(self) -> None:
        """Count from one again: a span begins, or another model writes in it."""
        self._attempts = Attempts(self._desk.settings.retry)

    def wait_s(self, error: Exception, length: int) -> float | None:
        """Return how long to wait before the call is made again; None where it is not.

        The session is opened anew with the `length` tokens that are known to stand in it: the old
        one may be broken, or still at work.
        """
        desk = self._desk
        if not isinstance(error, CircuitOpenError):
            breaker_of(desk.large.model, desk.settings.retry).failed()
        wait_s = self._attempts.wait_s(error, until_s=desk.until_s)
        if wait_s is None or not desk.large.is_open:
            desk.handback.lose_large()
            return wait_s
        known = desk.large.session.token_ids[desk.large.prompt_tokens : length]
        desk.large.open_again(known)
        return wait_s

    def retried(self, error: Exception, wait_s: float) -> Item:
        """Tell that the call is made again."""
        name, attempt = self._desk.large.model.name, self._attempts.count - 1
        return self._desk.spans.retried(error, name, attempt=attempt, wait_s=wait_s)

    async def fall_back(self, error: Exception, failed: Item) -> AsyncGenerator[Item, None]:
        """Let the next large model that can go on do so; mark the request as degraded if none can.

        Raises LargeModelError instead, where that was asked for.
        """
        desk = self._desk
        yield failed
        for number in itertools.count(desk.large.writer[1] + 1):
            if desk.is_late:
                break
            try:
                seat = await self._next_large(number)
                items = self._seat(seat)
            except LookupError:
                break
            except Exception as another:  # noqa: BLE001 - any failure of a large model is survived
                yield desk.spans.failed(another, f"large model {number}")
                error = another
                continue
            for item in items:
                yield item
            return
        if desk.settings.on_large_failure == "raise":
            raise LargeModelError(
                f"{desk.large.model.name} failed: {error}; set on_large_failure='small' to let "
                "the small model finish instead"
            ) from error
        desk.machine.degraded = True

    def _seat(self, seat: Seat) -> list[Item]:
        """Put another large model in the failed one's place, in the middle of a span if need be."""
        desk, failed = self._desk, self._desk.large
        if desk.machine.state is State.LARGE and desk.spans.current.has_begun:
            self._tell_of_span(seat, failed)
            started = [desk.spans.start_again(seat)]
        else:
            started = []
        failed.close()
        desk.large, machine = seat, desk.machine
        machine.prices = machine.policy.prices_of(seat.model.name, seat.model.prices)
        self.begin()
        return [desk.spans.fell_back(seat.model.name), *started]

    def _tell_of_span(self, seat: Seat, failed: Seat) -> None:
        desk, span = self._desk, self._desk.spans.current
        seat.tell(desk.transcript.pieces[: span.first_piece])
        span.lengths = (span.lengths[0] if span.lengths else 0, seat.session.length)
        if desk.settings.hands_back:
            seat.session.extend(seat.marks.open_tokens)
        seat.tell(desk.transcript.pieces)
        if span.held:
            carried = seat.bridge_from(failed.codec).carry(span.held)
            seat.session.extend(carried.token_ids)
        desk.handback.take_over(seat)

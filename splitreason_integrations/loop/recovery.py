"""A large model that fails: the call is made again, or the next large model goes on.

What was received is never lost and never asked for twice.
"""

from collections.abc import Awaitable, Callable

import anyio

from splitreason_integrations.decide.machine import State
from splitreason_integrations.decide.resilience import Attempts, breaker_of
from splitreason_integrations.errors import CircuitOpenError, LargeModelError
from splitreason_integrations.events import Event
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.state import RequestState

NextLarge = Callable[[int, float | None], Awaitable[Participant | None]]
"""Returns the large model with a number, loaded by a time of `time.monotonic()` at the latest.

Returns None where there is none with that number.
"""


class Recovery:
    """Attempts within a span, and the large models behind the first.

    `degrade` is called where no large model can go on and the small one is to finish.
    """

    def __init__(
        self, state: RequestState, next_large: NextLarge, *, degrade: Callable[[], None]
    ) -> None:
        self._state = state
        self._next_large = next_large
        self._degrade = degrade
        self._attempts = Attempts(state.settings.retry)
        self._error: Exception | None = None
        self._number = 0

    def begin(self) -> None:
        """Count attempts from one again: a span begins, or another model writes in it."""
        self._attempts = Attempts(self._state.settings.retry)

    def plan_retry(self, error: Exception, length: int) -> float | None:
        """Prepare another call of the failed model; return the wait before it, None for no call.

        Args:
            error: what the call failed with.
            length: how many tokens of the session are known to be right. The session is opened
                anew with them: the old one may be broken, or still at work.

        """
        state = self._state
        breaker = breaker_of(state.large.model, state.settings.retry)
        if not isinstance(error, CircuitOpenError):
            breaker.failed()
        until_s = state.span_ends_s
        wait_s = self._attempts.note_failure(error, until_s=until_s) if breaker.is_closed else None
        if wait_s is None or not state.large.is_open:
            state.handback.lose_large()
            return wait_s
        state.large.open_again(state.large.session.token_ids[state.large.prompt_tokens : length])
        return wait_s

    def retry_after(self, error: Exception, wait_s: float) -> None:
        """Emit that the call is made again, and wait before it is."""
        name, attempt = self._state.large.model.name, self._attempts.count - 1
        self._state.emit(self._state.spans.retried(error, name, attempt=attempt, wait_s=wait_s))
        self._state.then(lambda: anyio.sleep(wait_s))

    def fall_back(self, error: Exception, failed: Event) -> None:
        """Emit the failure and let the next large model that can go on do so.

        Where none can, the request is degraded: the small model goes on alone. Raises
        LargeModelError instead, where that was asked for.
        """
        self._state.emit(failed)
        self._error, self._number = error, self._state.large.writer[1] + 1
        self._state.then(self._try_next)

    def report(self, error: Exception) -> None:
        """Emit what is wrong with a reply that is written already, which is degraded by it.

        Raises LargeModelError where that was asked for.
        """
        state = self._state
        state.emit(state.spans.failed(error, state.large.model.name))
        self._error = error
        self._raise_if_asked(state.large.model.name)
        state.machine.degraded = True

    def start_without_unreached(self) -> None:
        """Emit which large models could not be loaded, and who writes in their place."""
        state, unreached = self._state, list(self._state.unreached)
        state.unreached.clear()
        for one in unreached:
            state.emit(state.spans.failed(one.error, one.model))
        if state.large_model is not None:
            state.emit(state.spans.fell_back(state.large.model.name))
            return
        self._error = unreached[-1].error

        async def give_up() -> None:
            self._give_up(unreached[-1].model)

        state.then(give_up)

    async def _try_next(self) -> None:
        """Let the large model with the next number go on."""
        state = self._state
        if state.is_late:
            self._give_up(state.large.model.name)
            return
        try:
            new = await self._load_next()
            if new is not None:
                await self._replace_large(new)
        except Exception as error:  # noqa: BLE001 - any failure of a large model is survived
            state.emit(state.spans.failed(error, f"large model {self._number}"))
            self._error, self._number = error, self._number + 1
            state.then(self._try_next)
        else:
            if new is None:
                self._give_up(state.large.model.name)

    async def _load_next(self) -> Participant | None:
        """Return the next large model, None behind the last.

        The time that local weights take to load is not the span's.
        """
        state, before_s = self._state, self._state.loading.local_s
        try:
            return await self._next_large(self._number, state.span_ends_s)
        finally:
            if state.span_ends_s is not None:
                state.span_ends_s += state.loading.local_s - before_s

    def _give_up(self, model: str) -> None:
        self._raise_if_asked(model)
        self._state.machine.degraded = True
        self._degrade()

    def _raise_if_asked(self, model: str) -> None:
        if self._state.settings.on_large_failure == "raise":
            raise LargeModelError(
                f"{model} failed: {self._error}; set on_large_failure='small' to let "
                "the small model finish instead"
            ) from self._error

    async def _replace_large(self, new: Participant) -> None:
        """Put another large model in the failed one's place, within a span if need be."""
        state, failed = self._state, self._state.large
        is_open = state.machine.state is State.LARGE and state.spans.current.has_begun
        try:
            if failed.hint is not None:
                await new.show_hint(failed.hint)
            if is_open:
                self._show_span(new, failed)
        except BaseException:
            new.close()
            raise
        failed.close()
        state.large_model, machine = new, state.machine
        machine.prices = machine.policy.prices_of(new.model.name, new.model.prices)
        self.begin()
        state.emit(state.spans.fell_back(new.model.name))
        if is_open:
            state.emit(state.spans.start_again(new))

    def _show_span(self, new: Participant, failed: Participant) -> None:
        """Bring another large model's session to where the failed one's was in the open span."""
        state, span = self._state, self._state.spans.current
        new.sync(state.transcript.pieces[: span.first_piece])
        span.begin(span.lengths[0] if span.lengths else 0, new.session.length)
        if state.settings.hands_back:
            new.session.extend(new.tags.open_tokens)
        new.sync(state.transcript.pieces)
        if span.held:
            converted = new.bridge_from(failed.codec).convert(span.held)
            new.session.extend(converted.token_ids)
        state.handback.take_over(new)

"""What an idle large model reads in the background, so that a hand-over finds it read.

Nothing goes ahead that a hand-over here could not send, and the text is the same with and without.
"""

from splitreason_integrations.backends.base import Prefills
from splitreason_integrations.decide.machine import LargeRead
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.decide.triggers import Never, Shadow
from splitreason_integrations.loop.approval import Approval
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.records import Piece


class Prefill:
    """ReadAlong ahead for one request: by the large model whose turn it is."""

    def __init__(self, state: RequestState) -> None:
        self._state = state
        self._asks_first = Approval(state).may_ask("before")
        self._next_at = 0

    def go_on(self) -> None:
        """Have the large model read what stands, where enough of it does; returns at once."""
        state, least = self._state, self._state.settings.prefill_tokens
        if least is None or state.transcript.tokens < self._next_at or not self._may_send:
            return
        pieces = self._sendable()
        if state.large.unread_tokens(pieces) < least:
            return
        self._next_at = state.transcript.tokens + least
        before = state.large.read_tokens
        try:
            session = state.large.session
            if not isinstance(session, Prefills):
                return
            if pieces:
                state.large.sync(pieces)
            session.prefill()
        except Exception:  # noqa: BLE001 - the hand-over meets the failure, and survives it
            return
        state.machine.note(LargeRead(state.large.read_tokens - before))

    @property
    def _may_send(self) -> bool:
        """Whether a span could open here without asking anybody."""
        state = self._state
        opens = not isinstance(state.settings.trigger, Never | Shadow)
        opens = opens and state.machine.may_open_soon(state.transcript.channel)
        if self._asks_first or not opens:
            return False
        return breaker_of(state.large.model, state.settings.retry).is_closed

    def _sendable(self) -> list[Piece]:
        """Return the reply so far where it can be told bit by bit, else nothing beside the prompt.

        Between different tokenizers the tokens depend on where a text is cut, and so does what a
        vault finds in it: half an address would leave.
        """
        state = self._state
        same = state.large.codec.fingerprint == state.small.codec.fingerprint
        return state.transcript.pieces if same else []

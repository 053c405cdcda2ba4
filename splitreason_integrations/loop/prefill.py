"""Prefill: an idle large model reads in the background, so that a handoff finds it up to date.

Nothing is sent ahead that a handoff here could not send; the text is the same with and without.
"""

import logging

from splitreason_integrations.backends.base import Prefills
from splitreason_integrations.decide.machine import LargeRead
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.records import Piece

_log = logging.getLogger(__name__)


class Prefill:
    """Background reading of one request, by the large model that would write the next span.

    Nothing is read ahead where a person is asked first (`asks_first`).
    """

    def __init__(self, state: RequestState, *, asks_first: bool) -> None:
        self._state = state
        self._asks_first = asks_first
        self._next_at = 0

    def start_if_due(self) -> None:
        """Have the large model read, where enough tokens are unread; returns at once."""
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
        except Exception as error:  # noqa: BLE001 - the handoff meets the failure, and survives it
            _log.warning("prefill of %s failed: %s", state.large.model.name, error)
            return
        state.machine.note(LargeRead(state.large.read_tokens - before))

    @property
    def _may_send(self) -> bool:
        """Whether a span could open here without asking a person."""
        state = self._state
        opens = state.settings.trigger.opens_spans
        opens = opens and state.machine.may_open_soon(state.transcript.channel)
        if self._asks_first or not opens or state.large_model is None:
            return False
        return breaker_of(state.large.model, state.settings.retry).is_closed

    def _sendable(self) -> list[Piece]:
        """Return the reply so far where it can be sent piece by piece, else nothing but the prompt.

        Between different tokenizers the tokens depend on where a text is cut, and so does what a
        vault finds in it: half an address would leave this process.
        """
        state = self._state
        same = state.large.codec.fingerprint == state.small.codec.fingerprint
        return state.transcript.pieces if same else []

"""What an idle large model reads in the background, so that a hand-over finds it read.

Nothing goes ahead that a hand-over here could not send, and the text is the same with and without.
"""

from splitreason_integrations.decide.machine import LargeRead
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.decide.triggers import Never, Shadow
from splitreason_integrations.loop.approval import Review
from splitreason_integrations.loop.state import Desk
from splitreason_integrations.records import Piece


class Prefill:
    """Reading ahead for one request: by the large model whose turn it is."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._asks_first = Review(desk).may_ask("before")
        self._next_at = 0

    def go_on(self) -> None:
        """Have the large model read what stands, where enough of it does; returns at once."""
        desk, least = self._desk, self._desk.settings.prefill_tokens
        if least is None or desk.transcript.tokens < self._next_at or not self._may_send:
            return
        pieces = self._sendable()
        if desk.large.unread_tokens(pieces) < least:
            return
        self._next_at = desk.transcript.tokens + least
        before = desk.large.read_tokens
        try:
            if pieces:
                desk.large.tell(pieces)
            desk.large.session.prefill()
        except Exception:  # noqa: BLE001 - the hand-over meets the failure, and survives it
            return
        desk.machine.note(LargeRead(desk.large.read_tokens - before))

    @property
    def _may_send(self) -> bool:
        """Whether a span could open here without asking anybody."""
        desk = self._desk
        opens = not isinstance(desk.settings.trigger, Never | Shadow)
        opens = opens and desk.machine.may_open_soon(desk.transcript.channel)
        if self._asks_first or not opens:
            return False
        return breaker_of(desk.large.model, desk.settings.retry).is_closed

    def _sendable(self) -> list[Piece]:
        """Return the reply so far where it can be told bit by bit, else nothing beside the prompt.

        Between different tokenizers the tokens depend on where a text is cut, and so does what a
        vault finds in it: half an address would leave.
        """
        desk = self._desk
        same = desk.large.codec.fingerprint == desk.small.codec.fingerprint
        return desk.transcript.pieces if same else []

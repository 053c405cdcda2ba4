"""A sequence whose model holds no session for it: with every request all of its ids are sent."""

from collections.abc import Callable, Sequence

from splitreason_integrations.backends.lookahead import Lookahead, Worth
from splitreason_integrations.errors import ModelCallError, SessionError


class SentSequence:
    """The ids of a sequence, and how many of them its model has read already.

    `worth` is the model's account of what is foretold for its sequences.
    """

    def __init__(self, prompt: Sequence[int], written: Sequence[int], worth: Worth) -> None:
        if not prompt:
            raise SessionError("a session needs a prompt of at least one token")
        self._ids = [*prompt, *written]
        self._prompt_tokens = len(prompt)
        self._seen = 0
        self._worth = worth
        self._foretelling: Lookahead | None = None
        self._end_prefill: Callable[[], None] | None = None
        self.is_open = True
        self.read = 0

    @property
    def token_ids(self) -> Sequence[int]:
        """The sequence, the prompt included."""
        return self._ids

    @property
    def length(self) -> int:
        """Tokens in the sequence, the prompt included."""
        return len(self._ids)

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that the model has not been sent yet."""
        return len(self._ids) - self._seen

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is sent until they are needed."""
        self._check_open()
        self._ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Cut the sequence to `length` tokens."""
        self._check_open()
        if not self._prompt_tokens <= length <= len(self._ids):
            raise SessionError(
                f"cannot cut to {length} tokens: the session has {len(self._ids)}, "
                f"{self._prompt_tokens} of them its prompt"
            )
        del self._ids[length:]
        self._seen = min(self._seen, length)
        self._drop_foretelling()
        self._drop_prefill()

    async def _foretold(self, token_id: int, places: range) -> list[float]:
        """Return P(`token_id`) at the first of the places, as far as it was foretold."""
        lookahead = self._foretelling
        if lookahead is None or not places:
            return []
        try:
            await lookahead.follow(self._ids, places[-1])
        except ModelCallError:
            # Whether the model does better is seen where the rest is asked for.
            lookahead.stop()
        self._check_open()
        return lookahead.told(token_id, self._ids, places)

    @property
    def _lacks_foretelling(self) -> bool:
        """Whether nothing is foretold from here on, nor others than foretold tokens have come."""
        return self._foretelling is None or self._foretelling.is_used_up(self._ids)

    def _drop_foretelling(self) -> None:
        """Ask for nothing more of what was foretold; note whether it was worth asking for."""
        if self._foretelling is not None:
            self._worth.note(self._foretelling.paid(self._ids))
            self._foretelling.stop()
            self._foretelling = None

    def _reads_ahead(self, end: Callable[[], None]) -> None:
        """Note that the model is reading what is pending; `end` ends that.

        It counts as read from now on, once: what becomes of this is not asked.
        """
        self._drop_prefill()
        self._saw(())
        self._end_prefill = end

    def _drop_prefill(self) -> None:
        """Let nothing be read ahead any more; what was read stays in the model's prefix cache."""
        if self._end_prefill is not None:
            self._end_prefill()
            self._end_prefill = None

    def _saw(self, token_ids: Sequence[int]) -> None:
        """Note that the model has read the sequence and written these tokens behind it."""
        self.read += self.unread
        self._ids += token_ids
        self._seen = len(self._ids)

    def _pending(self, last: int | None, spare: int) -> range:
        """Return behind how many tokens each a probability is asked for: see `Session`."""
        length = len(self._ids)
        first = length + 1 - min(last or length, max(1, self.unread))
        return range(first, length + 1 - spare)

    def _check_open(self) -> None:
        if not self.is_open:
            raise SessionError("the session is closed; open a new one")

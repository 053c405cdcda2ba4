"""The token ids of a session, and what sessions of all backends check about them."""

from collections.abc import Sequence

from splitreason_integrations.errors import SessionError


def check_prompt(prompt: Sequence[int]) -> None:
    """Raise SessionError for an empty prompt."""
    if not prompt:
        raise SessionError("a session needs a prompt of at least one token")


class TokenSequence:
    """Token ids behind a prompt that is never cut.

    Attributes:
        is_open: whether the session may still be used.
        read: tokens of the prompt or the other author that have been through the model.

    """

    def __init__(self, prompt: Sequence[int], written: Sequence[int] = ()) -> None:
        check_prompt(prompt)
        self._ids = [*prompt, *written]
        self._prompt_tokens = len(prompt)
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
    def holds_cache(self) -> bool:
        """Whether the session still takes memory or requests of its model."""
        return self.is_open

    @property
    def _position(self) -> int:
        """The place of the next token in the reply."""
        return len(self._ids) - self._prompt_tokens

    def _check_open(self) -> None:
        if not self.is_open:
            raise SessionError("the session is closed; open a new one")

    def _check_cut(self, length: int) -> None:
        """Raise SessionError unless the sequence can be cut to `length` tokens."""
        self._check_open()
        if not self._prompt_tokens <= length <= len(self._ids):
            raise SessionError(
                f"cannot cut to {length} tokens: the session has {len(self._ids)}, "
                f"{self._prompt_tokens} of them its prompt"
            )

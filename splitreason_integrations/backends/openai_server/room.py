"""How many tokens a server has room for after what a sequence holds."""

from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.errors import ModelCallError

_LEAST_TOKENS = 16
"""A server that has no room for so many has none."""
_NO_LIMIT = 1 << 40


class Room:
    """The room of one sequence, as its model's context and its servers' refusals leave it.

    Attributes:
        read_tokens: how many tokens a request's question has, as they are counted here.

    """

    def __init__(self, context_tokens: int) -> None:
        self._context_tokens = context_tokens
        self._most: int | None = None
        self.read_tokens = 0

    def fitting(self, tokens: int, replica: Replica) -> int:
        """Return how many tokens to ask a server for, where so many are wanted.

        Raises:
            ModelCallError: there is no room for any.

        """
        lessons = replica.lessons
        context = min(self._context_tokens, lessons.context_tokens or _NO_LIMIT)
        room = context - self.read_tokens
        if room < 1:
            raise replica.server.broken(
                f"its context of {context} tokens leaves no room behind {self.read_tokens}",
                retryable=False,
            )
        return min(tokens, room, lessons.most_tokens or room, self._most or room)

    def learns(self, call: Call, error: ModelCallError) -> bool:
        """Return whether a refusal says for how many tokens to ask instead."""
        asked = call.question.max_tokens
        less = call.replica.lessons.fits(
            error, asked=asked, read=self.read_tokens, context_tokens=self._context_tokens
        )
        if less is None or less < min(asked, _LEAST_TOKENS):
            return False
        self._most = less
        return less < asked

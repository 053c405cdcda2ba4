"""A conversation: the pair that answers, the messages so far, and what the replies cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.cli import options
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.records import Completion, Message
from splitreason_integrations.request import Request


@dataclass(frozen=True)
class Pair:
    """The options that describe who answers.

    Attributes:
        small: The small model, as text.
        large: The large model, as text.
        trigger: What opens a span; None for what suits the models.
        close: What ends it; None for what suits them.
        policy: Name or file of the policy; None for none.
        max_share: Cap on the offload share; None for none.
        api_key_env: Environment variable with the key of servers.
        given: Further options, by name.

    """

    small: str
    large: str
    trigger: str | None
    close: str | None
    policy: str | None
    max_share: float | None
    api_key_env: str | None
    given: Mapping[str, Any]

    def engine(self) -> SplitEngine:
        """Return the engine that the options describe.

        Raises:
            SplitReasonError: They describe none.

        """
        share = None if self.policy else self.max_share
        described = options.engine(
            self.small, self.large, self.trigger, share, self.policy, close=self.close
        )
        return options.keyed(options.applied(described, self.given), self.api_key_env)


@dataclass
class Conversation:
    """What was said so far.

    Attributes:
        pair: Who answers.
        max_tokens: Most tokens of a reply.
        thinking: Whether thoughts are switched on; None for the model's own way.
        seed: Seed of the first reply; each later one has the next number.
        messages: Questions and answers, in order.
        replies: The replies, in order.
        engine: The engine of `pair`.

    """

    pair: Pair
    max_tokens: int
    thinking: bool | None
    seed: int
    messages: list[Message] = field(default_factory=list)
    replies: list[Completion] = field(default_factory=list)
    engine: SplitEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.pair.engine()

    def use(self, pair: Pair) -> None:
        """Let another pair answer from now on; without one that can be used nothing changes."""
        self.engine = pair.engine()
        self.pair = pair

    def request(self, question: str) -> Request:
        """Return the request of a question behind what was said so far."""
        return Request(
            messages=[*self.messages, {"role": "user", "content": question}],
            sampling=options.sampling(self.pair.given),
            max_tokens=self.max_tokens,
            thinking=self.thinking,
            max_reasoning_tokens=self.pair.given.get("max_reasoning_tokens"),
            seed=self.seed + len(self.replies),
        )

    def answered(self, question: str, reply: Completion) -> None:
        """Add a question and its reply."""
        self.messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": reply.answer},
        ]
        self.replies.append(reply)

    def clear(self) -> None:
        """Forget what was said; what it cost is still counted."""
        self.messages.clear()

    def data(self) -> dict[str, Any]:
        """Return the conversation as plain data."""
        return {
            "small": self.pair.small,
            "large": self.pair.large,
            "messages": [dict(message) for message in self.messages],
            "replies": [{**reply.facts(), "seed": reply.seed} for reply in self.replies],
        }

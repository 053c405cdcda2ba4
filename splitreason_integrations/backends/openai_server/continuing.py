"""How a chat server takes a thought that it is to continue, found by the tokens that it counts.

Chat templates treat the assistant's last message in their own ways: some end the thought of a
message that has begun one, or put an empty one before it, and some servers write a template's own
opening before the message, which then has two. The count of the prompt's tokens shows it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.backends.openai_server.wire import Question

THOUGHT = "Hello, how"
"""What a thought begins with that is to be continued."""

WHOLE, BARE, APART = "whole", "bare", "apart"

Counting = Callable[[Question], Awaitable[int | None]]
"""Returns how many tokens a server counts in a question's prompt, None where it does not say."""


@dataclass(frozen=True, slots=True)
class ThoughtForm:
    """How a reply whose thought is open is sent as the assistant's last message.

    Attributes:
        name: `whole`, as it is; `bare`, without what opens the thought, which the server writes;
            `apart`, as the message's reasoning.

    """

    name: str = WHOLE

    def message(self, opening: str, thought: str) -> dict[str, Any]:
        """Return the fields of a message with a thought that is open."""
        if self.name == APART:
            return {"content": "", "reasoning_content": thought.lstrip("\n")}
        return {"content": thought if self.name == BARE else opening + thought}

    @property
    def body(self) -> Mapping[str, Any]:
        """Fields of the request that such a message needs beside those of its dialect."""
        return {"continue_final_message": "reasoning_content"} if self.name == APART else {}


FORMS = tuple(map(ThoughtForm, (WHOLE, BARE, APART)))
"""All forms, in the order in which they are tried."""


async def find_form(
    ask: Callable[[ThoughtForm], Question],
    *,
    begun: Question,
    count: Counting,
    opens: bool,
    tokens: tuple[int, int],
) -> ThoughtForm | None:
    """Return the form in which a server continues a thought; None where it continues none.

    Args:
        ask: returns the question that has a thought continued, in a form.
        begun: the question that has the same conversation answered from the beginning.
        count: asks the server.
        opens: whether the template opens the thought before the model writes.
        tokens: of what opens a thought, and of the thought's beginning.

    """
    opening, thought = tokens
    before = await count(begun)
    if before is None:
        return None
    right = before + thought + (0 if opens else opening)
    for form in FORMS:
        if await count(ask(form)) == right:
            return form
    return None


def prefill_is_refused(said: str) -> bool:
    """Return whether a refusal says that the last message may not be the assistant's."""
    said = said.lower()
    if "prefill" in said:
        return True
    ends = ("end with a user", "last message must", "final message must", "last message should")
    return any(phrase in said for phrase in ends)


@dataclass(slots=True)
class Reasonings:
    """Whether earlier thoughts are sent with the turns that called tools, as providers differ.

    Attributes:
        sent: whether they are.

    """

    sent: bool = False
    _tries: int = 2

    def learns(self, said: str) -> bool:
        """Return whether a refusal asks for the other way; it is taken from now on."""
        if "reasoning_content" not in said or not self._tries:
            return False
        self._tries -= 1
        self.sent = not self.sent
        return True

    def fitted(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return messages with their thoughts, or without."""
        return [self._one(message) for message in messages]

    def _one(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if message["role"] != "assistant":
            return dict(message)
        kept = {name: value for name, value in message.items() if name != "reasoning_content"}
        if not self.sent:
            return kept
        # A turn of another model has no thought, and an empty one counts as missing.
        thought = message.get("reasoning_content") or (" " if message.get("tool_calls") else None)
        return kept if thought is None else {**kept, "reasoning_content": thought}

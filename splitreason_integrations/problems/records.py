"""What a problem is: messages, tools, the turns of a correct reply, the expected answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from splitreason_integrations.problems.arithmetic import Step

Message = dict[str, Any]
Family = Literal["word", "context", "frameworks", "tools", "chat"]
FAMILIES: tuple[Family, ...] = ("word", "context", "frameworks", "tools", "chat")


@dataclass(frozen=True)
class ToolCall:
    """One call that the assistant makes, and what the tool returns."""

    name: str
    arguments: dict[str, Any]
    result: str

    def as_message_part(self) -> dict[str, Any]:
        """Return the call in the chat-message format of transformers."""
        return {"type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Turn:
    """One assistant turn: reasoning made of text and steps, then a call or the answer."""

    reasoning: tuple[str | Step, ...]
    content: str = ""
    call: ToolCall | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the calculation steps in order."""
        return tuple(part for part in self.reasoning if isinstance(part, Step))


@dataclass(frozen=True)
class Problem:
    """A prompt with its correct reply.

    `answer` is the number that ends the last reply, or the whole of it as a text, or None where
    any reply will do.
    """

    family: Family
    messages: tuple[Message, ...]
    turns: tuple[Turn, ...]
    answer: int | str | None
    tools: tuple[dict[str, Any], ...] | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return all calculation steps of the reply."""
        return tuple(step for turn in self.turns for step in turn.steps)

    def result_of(self, name: str, arguments: dict[str, Any]) -> str | None:
        """Return what the tool returns for this call, or None for a call nobody expected."""
        for turn in self.turns:
            if turn.call and (turn.call.name, turn.call.arguments) == (name, arguments):
                return turn.call.result
        return None

    def conversation(self, turn: int, thoughts: Sequence[str] = ()) -> list[Message]:
        """Return the messages in front of assistant turn number `turn`, counted from zero.

        Args:
            turn: which assistant turn is to be written next.
            thoughts: the reasoning to show for the turns before it; none is shown without.

        """
        messages = list(self.messages)
        for index, done in enumerate(self.turns[:turn]):
            if done.call is None:
                continue
            reply: Message = {"role": "assistant", "content": ""}
            if thoughts:
                reply["reasoning_content"] = thoughts[index]
            reply["tool_calls"] = [done.call.as_message_part()]
            result = {"role": "tool", "name": done.call.name, "content": done.call.result}
            messages += [reply, result]
        return messages

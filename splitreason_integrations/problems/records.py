"""Records of a problem: messages, tools, the turns of a correct reply, the expected answer."""

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
    """One call by the assistant, and the tool's result.

    Attributes:
        name: Name of the tool.
        arguments: Arguments of the call.
        result: What the tool returns.

    """

    name: str
    arguments: dict[str, Any]
    result: str

    def as_message_part(self) -> dict[str, Any]:
        """Return the call in the chat-message format of transformers."""
        return {"type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Turn:
    """One assistant turn.

    Attributes:
        reasoning: Text and steps, in order.
        content: The answer, if the turn does not end in a call.
        call: The call at the end of the turn, if any.

    """

    reasoning: tuple[str | Step, ...]
    content: str = ""
    call: ToolCall | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The calculation steps, in order."""
        return tuple(part for part in self.reasoning if isinstance(part, Step))


@dataclass(frozen=True)
class Problem:
    """A prompt with its correct reply.

    Attributes:
        family: Family of the problem.
        messages: The prompt.
        turns: The assistant turns of the reply.
        answer: The number at the end of the last reply, or the whole reply as text, or None if any
            reply will do.
        tools: Schemas of the tools on offer.

    """

    family: Family
    messages: tuple[Message, ...]
    turns: tuple[Turn, ...]
    answer: int | str | None
    tools: tuple[dict[str, Any], ...] | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """All calculation steps of the reply."""
        return tuple(step for turn in self.turns for step in turn.steps)

    def result_of(self, name: str, arguments: dict[str, Any]) -> str | None:
        """Return the result of a tool call, or None for an unexpected call."""
        for turn in self.turns:
            if turn.call and (turn.call.name, turn.call.arguments) == (name, arguments):
                return turn.call.result
        return None

    def conversation(self, turn: int, thoughts: Sequence[str] = ()) -> list[Message]:
        """Return the messages before assistant turn `turn`, counted from 0.

        Args:
            turn: The assistant turn to be written next.
            thoughts: Reasoning of the earlier turns; by default it is omitted.

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

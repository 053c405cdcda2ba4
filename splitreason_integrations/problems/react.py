"""Tool problems in the format of LlamaIndex's ReAct agent, with tools and calls as plain text."""

from __future__ import annotations

import json
import random
from typing import Any

from splitreason_integrations.problems.records import Message, Problem, ToolCall, Turn
from splitreason_integrations.problems.toolboxes import Tool
from splitreason_integrations.problems.toolcalls import draw_draft
from splitreason_integrations.problems.wordings import needs_frameworks

CALLING = (
    "The current language of the user is: English. "
    "I need to use a tool to help me answer the question."
)
ANSWERING = "I can answer without using any more tools. I'll use the user's language to answer"
KINDS = {"integer": int, "number": float, "string": str}


def react_turn(rng: random.Random) -> Problem:
    """Draw one step of an agent's loop: a call, or the answer from the tools' results."""
    prompt, tools, turns, answer = draw_draft(rng)
    rng.shuffle(tools)
    at = rng.randrange(len(turns))
    messages = _formatted(rng, prompt, tools, [turn.call for turn in turns[:at] if turn.call])
    call = turns[at].call
    if call is None:
        said = Turn(turns[at].reasoning, f"Thought: {ANSWERING}\nAnswer: {turns[at].content}")
        return Problem("frameworks", messages, (said,), answer)
    action = f"Action: {call.name}\nAction Input: {json.dumps(call.arguments)}"
    said = Turn(turns[at].reasoning, f"Thought: {CALLING}\n{action}")
    return Problem("frameworks", messages, (said,), said.content)


@needs_frameworks()
def _formatted(
    rng: random.Random, prompt: str, tools: list[Tool], calls: list[ToolCall]
) -> tuple[Message, ...]:
    from llama_index.core.agent import ReActChatFormatter
    from llama_index.core.agent.react.types import ActionReasoningStep, ObservationReasoningStep
    from llama_index.core.llms import ChatMessage

    steps: list[Any] = []
    for call in calls:
        steps += [
            ActionReasoningStep(thought=CALLING, action=call.name, action_input=call.arguments),
            ObservationReasoningStep(observation=call.result),
        ]
    offered = [_function_tool(rng, tool) for tool in tools]
    written = ReActChatFormatter().format(offered, [ChatMessage(prompt)], steps)
    return tuple({"role": m.role.value, "content": m.content} for m in written)


def _function_tool(rng: random.Random, tool: Tool) -> Any:
    """Return the tool as LlamaIndex describes a function."""
    from llama_index.core.tools import FunctionTool, ToolMetadata
    from pydantic import create_model

    arguments: dict[str, Any] = {
        name: (KINDS[kind], ...) for name, kind in zip(tool.arguments, tool.kinds, strict=True)
    }
    signature = ", ".join(f"{name}: {kind.__name__}" for name, (kind, _) in arguments.items())
    returned = rng.choice(("int", "str"))
    description = f"{tool.name}({signature}) -> {returned}\n{tool.description}"
    schema = create_model(tool.name, **arguments)
    metadata = ToolMetadata(name=tool.name, description=description, fn_schema=schema)
    return FunctionTool(fn=lambda **_: None, metadata=metadata)

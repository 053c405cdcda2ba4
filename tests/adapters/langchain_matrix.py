"""What the rows of LangChain's and LangGraph's matrix share: a scripted pair, a tool, an agent."""

import json

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.testing import ScriptedModel


def scripted(replies, **options):
    large = ScriptedModel(" it is.</bigmodel>", name="big")
    return SplitReasonLLM(
        small=ScriptedModel(replies, name="little"), large=large, **{"seed": 1, **options}
    )


AUTHORS = [
    ("small", "reasoning", "So:"),
    ("large", "reasoning", " it is."),
    ("small", "reasoning", " Done."),
]
"""Who wrote the reasoning of each reply; the small model's answer follows."""


def authors_of(message):
    entries = message.additional_kwargs["authors"]
    return [(one["type"], one["channel"], one["text"].strip("\n")) for one in entries]


def check(message, answer):
    """Check a reply's answer, who wrote it, and that its count is of what was written."""
    assert message.content == answer
    assert authors_of(message) == [*AUTHORS, ("small", "answer", answer)]
    details = message.usage_metadata["output_token_details"]
    (span,) = message.response_metadata["splitreason"]["spans"]
    assert details["large"] == span["tokens"] > 0


class Broken(ScriptedModel):
    """A model whose server is down for its first calls."""

    def __init__(self, reply, *, times=99):
        super().__init__(reply, name="broken")
        self.times, self.asked = times, 0

    def open(self, prompt, written=()):
        self.asked += 1
        if self.asked <= self.times:
            raise ConnectionError("down")
        return super().open(prompt, written)


FOREIGN = [
    HumanMessage("How many boxes has the depot?"),
    AIMessage(
        [
            {"type": "thinking", "thinking": "I add.", "signature": "x"},
            {"type": "text", "text": "Let me add."},
            {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 5, "b": 7}},
        ],
        tool_calls=[{"name": "add", "args": {"a": 5, "b": 7}, "id": "toolu_1"}],
        response_metadata={"model_provider": "anthropic"},
    ),
    ToolMessage("12", tool_call_id="toolu_1", name="add"),
]

ASK = {"messages": [HumanMessage("How many boxes has the depot?")]}


def calling(name, **arguments):
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


def thought(answer):
    return f"So:<bigmodel> Done.</think>\n\n{answer}"


class Counting:
    """A small model's script: look each place up, one call a turn; then say what was read."""

    def __init__(self, *places):
        self.places = places or ("depot",)
        self.asked = []

    def __call__(self, messages, tools):
        self.asked.append((messages, [one["function"]["name"] for one in tools or ()]))
        last = max(at for at, one in enumerate(messages) if one["role"] == "user")
        read = [one["content"] for one in messages[last:] if one["role"] == "tool"]
        if len(read) < len(self.places):
            return thought(calling("count", place=self.places[len(read)]))
        return thought(" and ".join(read))


BOXES = {"depot": 12, "shop": 30, "farm": 47}


@tool
def count(place: str) -> str:
    """Count the boxes of a place."""
    return f"{BOXES[place]} boxes"


def agent_of(replies, *middleware, **options):
    tools = options.pop("tools", [count])
    return create_agent(scripted(replies), tools, middleware=middleware, **options)

"""What `create_agent` and its middleware do with a chat model, one row each, on scripted models."""

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, Field, field_validator

from langchain_splitreason import SplitReasonLLM
from langchain_splitreason.agents import RepeatInvalidCalls
from splitreason_integrations.errors import ToolChoiceError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_matrix import (
    ASK,
    BOXES,
    FOREIGN,
    Broken,
    Counting,
    agent_of,
    calling,
    check,
    count,
    scripted,
    thought,
)


async def test_agents():
    agent = agent_of(Counting("depot", "shop"))
    for state in (agent.invoke(ASK), await agent.ainvoke(ASK)):
        kinds = [message.type for message in state["messages"]]
        assert kinds == ["human", "ai", "tool", "ai", "tool", "ai"]
        check(state["messages"][-1], "12 boxes and 30 boxes")
    streamed = agent.stream(ASK, stream_mode="messages")
    shown = "".join(part.content for part, at in streamed if at["langgraph_node"] == "model")
    assert shown == "12 boxes and 30 boxes"


def test_model_retry():
    small = Broken(Counting(), times=2)
    llm = SplitReasonLLM(small=small, large=ScriptedModel(" it is.</bigmodel>"), seed=1)
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
    state = create_agent(llm, [count], middleware=[retry]).invoke(ASK)
    check(state["messages"][-1], "12 boxes")
    assert small.asked == 4


@pytest.mark.parametrize("begun", [ASK["messages"], FOREIGN], ids=["anew", "mid-thread"])
def test_model_fallback(begun):
    """The thread may have been begun by another provider's model."""
    spare = scripted(Counting())
    llm = SplitReasonLLM(small=Broken(""), large=ScriptedModel(""))
    agent = create_agent(llm, [count], middleware=[ModelFallbackMiddleware(spare)])
    done = agent.invoke({"messages": begun})["messages"]
    check(done[-1], "12" if begun is FOREIGN else "12 boxes")
    assert done[-1].response_metadata["model_name"] == "splitreason/little+big"


LONG = [
    HumanMessage("The depot has 12 boxes. " * 20),
    AIMessage("I will keep it in mind. " * 20),
    HumanMessage("And the shop has 30 boxes."),
    AIMessage("Noted."),
    HumanMessage("How many boxes has the depot?"),
]


@pytest.mark.parametrize("limit", [("tokens", 300), ("fraction", 0.04)], ids=str)
def test_summarisation(limit):
    """A fraction is one of the context that the model's profile has."""
    asked = []

    def reply(messages, tools):
        asked.append(messages)
        asks_summary = "context" in messages[0]["content"].lower() and len(messages) == 1
        return thought("SUMMARY: 12 in the depot" if asks_summary else "12 boxes")

    llm = scripted(reply)
    count_tokens = llm.get_num_tokens_from_messages
    middleware = SummarizationMiddleware(
        llm, trigger=limit, keep=("messages", 1), token_counter=count_tokens
    )
    agent = create_agent(llm, [], middleware=[middleware])
    done = agent.invoke({"messages": LONG})["messages"]
    check(done[-1], "12 boxes")
    assert len(asked) == 2
    assert "SUMMARY: 12 in the depot" in asked[1][0]["content"]
    assert done[-1].usage_metadata["input_tokens"] == count_tokens(done[:-1]) < 100
    asked.clear()
    agent.invoke({"messages": LONG[2:]})
    assert len(asked) == 1


def test_summarisation_by_the_tokens_that_a_reply_reports():
    """LangChain's guess by characters is below the limit here."""
    asked = []

    def reply(messages, tools):
        asked.append(messages)
        asks_summary = "context" in messages[0]["content"].lower()
        return thought("SUMMARY" if asks_summary else "word " * 200)

    llm = scripted(reply)
    limit = SummarizationMiddleware(llm, trigger=("tokens", 400), keep=("messages", 1))
    agent = create_agent(llm, [], middleware=[limit])
    first = agent.invoke({"messages": [HumanMessage("hi " * 100)]})["messages"]
    assert first[-1].usage_metadata["total_tokens"] > 400
    assert count_tokens_approximately(first) < 400
    done = agent.invoke({"messages": [*first, HumanMessage("And now?")]})["messages"]
    assert len(asked) == 3
    assert "SUMMARY" in done[0].content


def test_context_editing():
    replies = Counting("depot", "shop", "farm")
    edit = ClearToolUsesEdit(trigger=1, keep=1, placeholder="[cleared]")
    state = agent_of(
        replies, ContextEditingMiddleware(edits=[edit], token_count_method="model")
    ).invoke(ASK)
    check(state["messages"][-1], "[cleared] and [cleared] and 47 boxes")
    results = [message.content for message in state["messages"] if message.type == "tool"]
    assert results == ["12 boxes", "30 boxes", "47 boxes"]


DECISIONS = {
    "approve": ({"type": "approve"}, "12 boxes"),
    "edit": (
        {"type": "edit", "edited_action": {"name": "count", "args": {"place": "shop"}}},
        "30 boxes",
    ),
    "reject": ({"type": "reject", "message": "Do not count."}, "Do not count."),
    "respond": ({"type": "respond", "message": "99 boxes"}, "99 boxes"),
}


@pytest.mark.parametrize("kind", DECISIONS)
async def test_human_in_the_loop(kind):
    decision, read = DECISIONS[kind]
    replies = Counting()
    agent = agent_of(
        replies,
        HumanInTheLoopMiddleware(interrupt_on={"count": True}),
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": kind}}
    asked = await agent.ainvoke(ASK, thread)
    (question,) = asked["__interrupt__"]
    assert question.value["action_requests"][0]["args"] == {"place": "depot"}
    state = await agent.ainvoke(Command(resume={"decisions": [decision]}), thread)
    last = state["messages"][-1]
    assert last.content.endswith(read)
    assert len(replies.asked) == 2
    result = replies.asked[1][0][-1]
    assert (result["role"], result["content"].endswith(read)) == ("tool", True)
    check(last, last.content)


@pytest.mark.parametrize("end", ["continue", "end"])
def test_tool_call_limits(end):
    replies = Counting("depot", "shop")
    limit = ToolCallLimitMiddleware(run_limit=1, exit_behavior=end)
    state = agent_of(replies, limit).invoke(ASK)
    results = [one for one in state["messages"] if isinstance(one, ToolMessage)]
    assert [one.status for one in results] == ["success", "error"]
    assert results[0].content == "12 boxes"
    if end == "continue":
        check(state["messages"][-1], f"12 boxes and {results[1].content}")
    assert len(replies.asked) == (3 if end == "continue" else 2)


def test_model_call_limits():
    replies = Counting("depot", "shop")
    state = agent_of(replies, ModelCallLimitMiddleware(run_limit=2)).invoke(ASK)
    assert len(replies.asked) == 2
    assert [one.content for one in state["messages"] if one.type == "tool"] == [
        "12 boxes",
        "30 boxes",
    ]
    assert "limit" in state["messages"][-1].content


def test_tool_retry():
    tries = []

    @tool("count")
    def unsteady(place: str) -> str:
        """Count the boxes of a place."""
        tries.append(place)
        if len(tries) < 3:
            raise ConnectionError("down")
        return f"{BOXES[place]} boxes"

    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
    state = agent_of(Counting(), retry, tools=[unsteady]).invoke(ASK)
    check(state["messages"][-1], "12 boxes")
    assert tries == ["depot"] * 3


class Stock(BaseModel):
    """What a place has."""

    place: str = Field(max_length=10)
    boxes: int = Field(ge=0, le=99)


STOCK = Stock(place="depot", boxes=12)


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy, None])
def test_structured_output(strategy):
    """Without a strategy the agent chooses one by the model's profile."""
    offered = []

    def reply(messages, tools):
        offered.append([one["function"]["name"] for one in tools or ()])
        if messages[-1]["role"] != "tool":
            return thought(calling("count", place="depot"))
        if strategy is ToolStrategy:
            return thought(calling("Stock", **STOCK.model_dump()))
        return thought(STOCK.model_dump_json())

    response_format = strategy(Stock) if strategy else Stock
    state = agent_of(reply, response_format=response_format).invoke(ASK)
    assert state["structured_response"] == STOCK
    names = ["count", "Stock"] if strategy is ToolStrategy else ["count"]
    assert offered == [names] * 2
    reply = next(one for one in reversed(state["messages"]) if isinstance(one, AIMessage))
    authors = reply.additional_kwargs["authors"]
    assert [one["type"] for one in authors][:3] == ["small", "large", "small"]


class Packs(BaseModel):
    """How many packs of four."""

    boxes: int = Field(multiple_of=4, ge=0, le=99)

    @field_validator("boxes")
    @classmethod
    def _check_is_not_zero(cls, boxes):
        if boxes == 0:
            raise ValueError("none is no answer")
        return boxes


@pytest.mark.parametrize(
    ("schema", "wrong", "why", "middleware"),
    [
        (Packs, 0, "none is no answer", []),
        (Packs, 13, "13 is not a multiple of 4", [RepeatInvalidCalls()]),
        (Packs, None, "the reply has: none", [RepeatInvalidCalls()]),
        (Packs.model_json_schema(), 13, "13 is not a multiple of 4", [RepeatInvalidCalls()]),
    ],
    ids=["a check of its own", "what no grammar holds", "no call", "a dict"],
)
async def test_typed_answers_that_do_not_fit_are_asked_for_again(schema, wrong, why, middleware):
    asked = []

    def reply(messages, tools):
        asked.append(messages[-1]["content"])
        if why in messages[-1]["content"]:
            return thought(calling("Packs", boxes=12))
        return thought("Twelve." if wrong is None else calling("Packs", boxes=wrong))

    agent = agent_of(reply, *middleware, tools=[], response_format=ToolStrategy(schema))
    for state in (agent.invoke(ASK), await agent.ainvoke(ASK)):
        assert dict(state["structured_response"]) == {"boxes": 12}
    assert len(asked) == 4


def test_a_typed_answer_that_never_fits_is_an_error():
    asked = []

    def reply(messages, tools):
        asked.append(messages)
        return thought(calling("Packs", boxes=13))

    agent = agent_of(
        reply, RepeatInvalidCalls(attempts=2), tools=[], response_format=ToolStrategy(Packs)
    )
    with pytest.raises(ToolChoiceError, match="13 is not a multiple of 4"):
        agent.invoke(ASK)
    assert len(asked) == 3


def test_personal_data_is_hidden_from_the_model():
    replies = Counting()
    hide = PIIMiddleware("email", strategy="redact")
    asked = {"messages": [HumanMessage("Count for mia@example.com.")]}
    check(agent_of(replies, hide).invoke(asked)["messages"][-1], "12 boxes")
    assert replies.asked[0][0][-1]["content"] == "Count for [REDACTED_EMAIL]."


def test_to_do_lists():
    todos = [{"content": "Count the depot", "status": "in_progress"}]

    def reply(messages, tools):
        is_begun = messages[-1]["role"] == "tool"
        return thought("Begun." if is_begun else calling("write_todos", todos=todos))

    state = agent_of(reply, TodoListMiddleware()).invoke(ASK)
    assert state["todos"] == todos
    check(state["messages"][-1], "Begun.")


def test_tools_are_selected_by_a_model():
    @tool
    def paint(place: str) -> str:
        """Paint a place."""
        return "painted"

    replies = Counting()
    selector = scripted(lambda messages, tools: thought('{"tools": ["count"]}'))
    select = LLMToolSelectorMiddleware(model=selector, max_tools=1)
    state = agent_of(replies, select, tools=[paint, count]).invoke(ASK)
    check(state["messages"][-1], "12 boxes")
    assert [names for _, names in replies.asked] == [["count"]] * 2

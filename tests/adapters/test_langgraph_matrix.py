"""What LangGraph does around a chat model, one row each, on scripted models."""

import operator
from typing import Annotated, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core.exceptions import ModelAPIError, ModelConnectionError
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.config import get_store
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, Command

from langchain_splitreason import InterruptReviewer
from langchain_splitreason.agents import RepeatInvalidCalls
from splitreason_integrations import HumanCheck
from splitreason_integrations.errors import ConfigurationError
from tests.adapters.langchain_matrix import (
    ASK,
    Counting,
    agent_of,
    check,
    scripted,
    thought,
)
from tests.adapters.scripted_replies import Replies


def test_checkpointers_keep_a_thread(tmp_path):
    path = str(tmp_path / "threads.db")
    thread = {"configurable": {"thread_id": "a"}}
    with SqliteSaver.from_conn_string(path) as saver:
        first = agent_of(Counting(), checkpointer=saver).invoke(ASK, thread)
    replies = Counting("shop")
    with SqliteSaver.from_conn_string(path) as saver:
        agent = agent_of(replies, checkpointer=saver)
        state = agent.invoke({"messages": [HumanMessage("And the shop?")]}, thread)
        before = next(
            one for one in agent.get_state_history(thread) if len(one.values["messages"]) == 4
        )
        again = agent.invoke({"messages": [HumanMessage("The shop?")]}, before.config)
    assert state["messages"][:4] == first["messages"]
    check(state["messages"][3], "12 boxes")
    check(state["messages"][-1], "30 boxes")
    assert again["messages"][-4].content == "The shop?"
    asked = [one["content"] for one in replies.asked[0][0] if one["role"] == "user"]
    assert asked == ["How many boxes has the depot?", "And the shop?"]


def test_stores_are_read_by_tools():
    @tool("count")
    def stored(place: str) -> str:
        """Count the boxes of a place."""
        return get_store().get(("boxes",), place).value["text"]

    store = InMemoryStore()
    store.put(("boxes",), "depot", {"text": "12 boxes"})
    state = agent_of(Counting(), tools=[stored], store=store).invoke(ASK)
    check(state["messages"][-1], "12 boxes")


class Counted(TypedDict):
    place: str
    replies: Annotated[list, operator.add]


async def test_nodes_are_cached():
    replies = Counting()
    llm = scripted(lambda messages, tools: (replies.asked.append(messages), thought("12 boxes"))[1])

    def ask(state):
        return {"replies": [llm.invoke(f"The {state['place']}?")]}

    graph = StateGraph(Counted)
    graph.add_node("ask", ask, cache_policy=CachePolicy(ttl=600))
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    app = graph.compile(cache=InMemoryCache())
    first, again = (app.invoke({"place": "depot", "replies": []}) for _ in range(2))
    assert len(replies.asked) == 1
    check(again["replies"][0], "12 boxes")
    assert first == again
    await app.ainvoke({"place": "shop", "replies": []})
    assert len(replies.asked) == 2


def test_agents_as_nodes_of_a_graph():
    agent = agent_of(Counting())
    graph = StateGraph(MessagesState)
    graph.add_node("counter", agent)
    graph.add_edge(START, "counter")
    parts = list(graph.compile().stream(ASK, stream_mode=["messages", "custom"], subgraphs=True))
    shown = "".join(
        part[0].content
        for _, mode, part in parts
        if mode == "messages" and part[1]["langgraph_node"] == "model"
    )
    assert shown == "12 boxes"


class Turn:
    """One turn of a graph that waits for a person."""

    def __init__(self, app):
        self.app, self.thread = app, {"configurable": {"thread_id": "a"}}

    def asked(self):
        return self.app.invoke(ASK, self.thread).get("__interrupt__")

    def answered(self):
        state = self.app.invoke(Command(resume="approve"), self.thread)
        assert "__interrupt__" not in state
        return state["messages"][-1]


def graph_of(model):
    def node(state):
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    return graph.compile(checkpointer=InMemorySaver())


FAILURES = (ModelAPIError, ModelConnectionError)
SPARE = scripted(lambda messages, tools: thought("spare"))
RETRY = ModelRetryMiddleware(initial_delay=0.0, jitter=False)
AROUND = {
    "with_fallbacks": lambda llm: graph_of(
        llm.with_fallbacks([SPARE], exceptions_to_handle=FAILURES)
    ),
    "with_retry": lambda llm: graph_of(llm.with_retry(retry_if_exception_type=FAILURES)),
    "ModelFallbackMiddleware": lambda llm: checked_agent(llm, ModelFallbackMiddleware(SPARE)),
    "ModelRetryMiddleware": lambda llm: checked_agent(llm, RETRY),
    "RepeatInvalidCalls": lambda llm: checked_agent(llm, RepeatInvalidCalls()),
}


def checked_agent(llm, middleware):
    return create_agent(llm, [], middleware=[middleware], checkpointer=InMemorySaver())


@pytest.mark.parametrize("kind", AROUND)
def test_a_person_is_asked_by_what_has_fallbacks_and_retries(kind):
    check_by_interrupt = HumanCheck(reviewer=InterruptReviewer())
    replies = Replies(depot="12 boxes")
    turn = Turn(AROUND[kind](scripted(replies, human_check=check_by_interrupt)))
    (question,) = turn.asked()
    assert (question.value["model"], question.value["context"]) == ("big", "So:")
    check(turn.answered(), "12 boxes")
    assert len(replies.asked) == 1


@pytest.mark.parametrize("is_bound", [False, True], ids=["a model", "with tools"])
def test_what_would_ask_nobody_is_refused(is_bound):
    check_by_interrupt = HumanCheck(reviewer=InterruptReviewer())
    llm = scripted(Replies(depot="12 boxes"), human_check=check_by_interrupt)
    with pytest.raises(ConfigurationError, match="exceptions_to_handle="):
        llm.with_fallbacks([SPARE])
    with pytest.raises(ConfigurationError, match="retry_if_exception_type"):
        (llm.bind_tools([]) if is_bound else llm).with_retry(stop_after_attempt=2)

"""A LangGraph node that pauses for a person, with both models on servers."""

import sys

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from modules import import_all
from questions import NUMBER, WORDS

from langchain_splitreason import InterruptReviewer, SplitReasonLLM
from splitreason_integrations import HumanCheck


def main(small: str, large: str) -> None:
    """Approve each handoff of one answer."""
    llm = SplitReasonLLM(
        small=f"{small}#large",
        large=f"{large}#large",
        human_check=HumanCheck(reviewer=InterruptReviewer()),
        seed=1,
    )
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "answer")
    app = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    state = app.invoke({"messages": [("user", WORDS)]}, config)
    asked = 0
    while "__interrupt__" in state:
        asked += 1
        state = app.invoke(Command(resume={"decision": "approve", "by": "ann"}), config)
    assert asked
    assert NUMBER in state["messages"][-1].content, state
    import_all(without={"langchain", "torch", "phonenumbers", "llama_index.core", "opentelemetry"})


if __name__ == "__main__":
    main(*sys.argv[1:])

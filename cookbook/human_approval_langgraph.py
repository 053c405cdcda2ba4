"""A person approves handoffs in a LangGraph graph; its state waits for them in SQLite.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

import tempfile
from pathlib import Path

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_splitreason import InterruptReviewer, SplitReasonLLM
from splitreason_integrations import HumanCheck

QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
THREAD = {"configurable": {"thread_id": "mia"}}

llm = SplitReasonLLM(human_check=HumanCheck(reviewer=InterruptReviewer()), seed=1)


def chat(state: MessagesState) -> dict:
    """Answer the last message."""
    return {"messages": [llm.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("chat", chat)
builder.add_edge(START, "chat")
builder.add_edge("chat", END)


def person(question: dict) -> dict:
    """Answer a question. Replace this by your own: a web page, a message to the person on duty."""
    print(f"  ask ann: may {question['model']} continue after …{question['context'][-24:]!r}?")
    return {"decision": "approve", "by": "ann"}


with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "graph.sqlite")  # use a permanent file: answers may take days
    given = {"messages": [("user", QUESTION)]}
    while given is not None:
        with SqliteSaver.from_conn_string(path) as saver:  # reopened, as in another process
            state = builder.compile(checkpointer=saver).invoke(given, THREAD)
        asked = [one.value for one in state.get("__interrupt__", ())]
        given = Command(resume=person(asked[0])) if asked else None

reply = state["messages"][-1]
facts = reply.response_metadata["splitreason"]
print(
    f"{reply.content}\n{facts['offload_share']:.0%} by the large model, {facts['cost_usd']:g} USD"
)
for span in facts["spans"]:
    print(f"{span['text']!r}: {span['human']}")

"""A person in a graph: several questions in one reply, answered in other processes."""

import json

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_splitreason import InterruptReviewer, SplitReasonLLM
from splitreason_integrations import HumanCheck
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.errors import ConfigurationError
from tests.reviews.review_runs import ANSWERS, REASONING, counting_pair, output_then_killed, start

THREAD = {"configurable": {"thread_id": "t"}}


def model(**check):
    reviewed = HumanCheck(reviewer=InterruptReviewer(), **check)
    return SplitReasonLLM(**counting_pair(), human_check=reviewed, seed=1)


def graph(llm, saver, *, is_async=False):
    def call(state):
        return {"messages": [llm.invoke(state["messages"])]}

    async def acall(state):
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", acall if is_async else call)
    builder.add_edge(START, "chat")
    builder.add_edge("chat", END)
    return builder.compile(checkpointer=saver)


def asked(result):
    (one,) = result["__interrupt__"]
    return one.value


def check_reply(message):
    assert message.content == "Five"
    assert message.additional_kwargs["reasoning_content"] == REASONING
    spans = message.response_metadata["splitreason"]["spans"]
    assert [span["human"] for span in spans] == ["approve by ann", "approve by graph"]


def test_three_questions_in_one_reply():
    llm = model()
    app = graph(llm, InMemorySaver())
    result = app.invoke({"messages": [("user", "hi")]}, THREAD)
    ids = []
    for answer in ANSWERS:
        question = asked(result)
        ids.append(question["id"])
        result = app.invoke(Command(resume=answer), THREAD)
    check_reply(result["messages"][-1])
    assert len(set(ids)) == 3
    assert question["context"] == "One. a b c. Two. Three."
    alone = SplitReasonLLM(**counting_pair(), seed=1)
    alone.invoke("hi")
    facts = result["messages"][-1].response_metadata["splitreason"]["tokens"]
    assert llm.small.written == facts["small"] == alone.small.written
    assert llm.large.written == facts["large"] < alone.large.written


async def test_the_same_in_asynchronous_nodes():
    llm = model()
    app = graph(llm, InMemorySaver(), is_async=True)
    result = await app.ainvoke({"messages": [("user", "hi")]}, THREAD)
    for answer in ANSWERS:
        result = await app.ainvoke(Command(resume=answer), THREAD)
    check_reply(result["messages"][-1])
    facts = result["messages"][-1].response_metadata["splitreason"]["tokens"]
    assert (llm.small.written, llm.large.written) == (facts["small"], facts["large"])


def test_a_span_may_be_checked_when_it_came_back():
    app = graph(model(before=None, after=AskRule()), InMemorySaver())
    result = app.invoke({"messages": [("user", "hi")]}, THREAD)
    assert asked(result)["text"] == " a b c."
    result = app.invoke(Command(resume={"decision": "edit", "text": " Mine."}), THREAD)
    result = app.invoke(Command(resume="refuse"), THREAD)
    result = app.invoke(Command(resume="approve"), THREAD)
    message = result["messages"][-1]
    reasoning = message.additional_kwargs["reasoning_content"]
    # What is cut off a script is written again.
    assert reasoning == "One. Mine. Two. Three. a b c. Four."


WRONG = ["aprove", 7, {"text": "x"}, {"decision": "edit"}, {"decision": "approve", "id": "other"}]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_what_is_no_answer_is_asked_for_again_with_the_reason(is_async):
    llm = model()
    app = graph(llm, InMemorySaver(), is_async=is_async)

    async def run(given):
        return await app.ainvoke(given, THREAD) if is_async else app.invoke(given, THREAD)

    result = await run({"messages": [("user", "hi")]})
    first = asked(result)
    assert first["problem"] == ""
    for wrong in WRONG:
        again = asked(await run(Command(resume=wrong)))
        assert again["problem"], wrong
        assert {**again, "problem": ""} == first
    for answer in ANSWERS:
        result = await run(Command(resume=answer))
    check_reply(result["messages"][-1])
    facts = result["messages"][-1].response_metadata["splitreason"]["tokens"]
    assert (llm.small.written, llm.large.written) == (facts["small"], facts["large"])


def changed(saver, change):
    """Change the paused request that a graph's checkpoint keeps."""
    for key, kept in saver.writes.items():
        for one, (task, channel, value, path) in kept.items():
            data = saver.serde.loads_typed(value)
            if isinstance(data, dict) and "paused" in data:
                paused = json.loads(data["paused"])
                change(paused)
                again = saver.serde.dumps_typed({"paused": json.dumps(paused)})
                saver.writes[key][one] = (task, channel, again, path)


CHANGES = {
    "a cap": lambda paused: paused["state"]["ledger"].update(spans=-5),
    "what was asked": lambda paused: paused["question"].update(context="All is well."),
    "the prompt": lambda paused: paused["state"]["request"]["messages"].append(
        {"role": "user", "content": "Say yes."}
    ),
    "the signature": lambda paused: paused.pop("signature"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_checkpoint_is_refused(change):
    saver = InMemorySaver()
    llm = SplitReasonLLM(
        **counting_pair(),
        human_check=HumanCheck(reviewer=InterruptReviewer()),
        pause_key="the key of these tests",
    )
    app = graph(llm, saver)
    app.invoke({"messages": [("user", "hi")]}, THREAD)
    written = llm.small.written
    changed(saver, change)
    with pytest.raises(ConfigurationError, match="signed"):
        app.invoke(Command(resume="approve"), THREAD)
    assert (llm.small.written, llm.large.written) == (written, 0)


def test_outside_a_graph_it_says_so():
    with pytest.raises(ConfigurationError, match="in a node of a LangGraph graph"):
        model().invoke("hi")


STEP = """
import json, sys
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from tests.adapters.test_langgraph_interrupt import THREAD, graph, model

path, given = sys.argv[1], json.loads(sys.argv[2])
with SqliteSaver.from_conn_string(path) as saver:
    llm = model()
    app = graph(llm, saver)
    start = {"messages": [("user", "hi")]} if given is None else Command(resume=given)
    result = app.invoke(start, THREAD)
    reported = {"written": [llm.small.written, llm.large.written]}
    if "__interrupt__" in result:
        reported["question"] = result["__interrupt__"][0].value["id"]
    else:
        message = result["messages"][-1]
        reported["reasoning"] = message.additional_kwargs["reasoning_content"]
        reported["tokens"] = message.response_metadata["splitreason"]["tokens"]
    print(json.dumps(reported), flush=True)
    sys.stdin.read()
"""


def step(path, given):
    """Run one step in a process of its own, and kill it where it waits."""
    return output_then_killed(start(STEP, path, json.dumps(given)))


@pytest.mark.slow
def test_processes_killed_between_the_questions(tmp_path):
    steps = [step(tmp_path / "graph.sqlite", given) for given in (None, *ANSWERS)]
    questions = [one["question"] for one in steps[:-1]]
    assert len(set(questions)) == 3
    assert steps[-1]["reasoning"] == REASONING
    small, large = (sum(one["written"][at] for one in steps) for at in (0, 1))
    assert {"small": small, "large": large} == steps[-1]["tokens"]

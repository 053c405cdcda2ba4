"""`SplitReasonLLM`: events, child runs, failures; closing and cancelling."""

import asyncio
import itertools

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.callbacks import (
    get_usage_metadata_callback,
)
from langchain_core.messages import (
    HumanMessage,
)
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.errors import (
    LargeModelError,
)
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import (
    ANSWER,
    EVENTS,
    LARGE,
    SMALL,
    Heard,
    HeardLater,
    joined,
    open_sessions,
    scripted,
)

# Loading and stream_events(version="v3") warn, once in a process, that they are in beta.
pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"
)

# Events


def in_a_sequence(model):
    return ChatPromptTemplate.from_messages([("human", "{input}")]) | model


def sync_doors(model, config):
    yield lambda: list(model.stream_events("hi", config, version="v3"))
    yield lambda: model.invoke("hi", config)
    yield lambda: list(model.stream("hi", config))
    yield lambda: model.invoke("hi", config, stream=True)
    yield lambda: model.batch(["hi"], config)
    yield lambda: in_a_sequence(model).invoke({"input": "hi"}, config)
    yield lambda: list(in_a_sequence(model).stream({"input": "hi"}, config))
    yield lambda: RunnableLambda(lambda _: model.invoke("hi")).invoke(0, config)
    yield lambda: list(model.with_retry().stream("hi", config))


def async_doors(model, config):
    async def all_of(stream):
        return [item async for item in stream]

    async def protocol():
        return await all_of(await model.astream_events("hi", config, version="v3"))

    yield lambda: model.ainvoke("hi", config)
    yield lambda: all_of(model.astream("hi", config))
    yield lambda: model.abatch(["hi"], config)
    yield lambda: in_a_sequence(model).ainvoke({"input": "hi"}, config)
    yield lambda: all_of(in_a_sequence(model).astream({"input": "hi"}, config))
    yield lambda: all_of(model.astream_events("hi", config, version="v2"))
    yield protocol


@pytest.mark.parametrize("door", range(9))
def test_events_arrive_once_at_synchronous_handlers(door):
    heard = Heard()
    next(itertools.islice(sync_doors(scripted(), {"callbacks": [heard]}), door, None))()
    assert heard.names == EVENTS
    assert [data["span"] for _, data, _ in heard.events] == [0, 0, 0, 1, 1, 1]
    assert {run_id for _, _, run_id in heard.events} == set(heard.runs)


@pytest.mark.parametrize("door", range(7))
async def test_events_arrive_once_at_handlers_of_both_kinds(door):
    heard, later = Heard(), HeardLater()
    config = {"callbacks": [heard, later]}
    await next(itertools.islice(async_doors(scripted(), config), door, None))()
    assert heard.names == EVENTS
    assert later.names == EVENTS


@pytest.mark.parametrize("wrapped", [False, True])
async def test_events_arrive_once_in_astream_events(wrapped):
    model = scripted()
    runnable = RunnableLambda(lambda _, config: model.invoke("hi", config)) if wrapped else model
    events = [event async for event in runnable.astream_events("hi", version="v2")]
    assert [e["name"] for e in events if e["event"] == "on_custom_event"] == EVENTS


def graph(model, *, asynchronous=False):
    def call(state):
        return {"messages": [model.invoke(state["messages"])]}

    async def acall(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", acall if asynchronous else call)
    builder.add_edge(START, "chat")
    builder.add_edge("chat", END)
    return builder.compile()


def test_events_in_a_graph():
    heard = Heard()
    state = {"messages": [HumanMessage("hi")]}
    modes = ["custom", "messages"]
    parts = list(graph(scripted()).stream(state, {"callbacks": [heard]}, stream_mode=modes))
    assert heard.names == EVENTS
    assert [part["name"] for mode, part in parts if mode == "custom"] == EVENTS
    assert joined([part[0] for mode, part in parts if mode == "messages"]).content == ANSWER


async def test_events_in_an_asynchronous_graph():
    heard = Heard()
    state = {"messages": [HumanMessage("hi")]}
    compiled = graph(scripted(), asynchronous=True)
    custom = [
        part async for part in compiled.astream(state, {"callbacks": [heard]}, stream_mode="custom")
    ]
    assert heard.names == EVENTS
    assert [part["name"] for part in custom] == EVENTS
    events = [event async for event in compiled.astream_events(state, version="v2")]
    assert [e["name"] for e in events if e["event"] == "on_custom_event"] == EVENTS


@pytest.mark.parametrize("stream", [False, True])
def test_each_span_is_a_child_run(stream):
    heard, model = Heard(), scripted()
    config = {"callbacks": [heard]}
    list(model.stream("hi", config)) if stream else model.invoke("hi", config)
    assert [name for name, _, _, _ in heard.spans] == ["big", "big"]
    assert heard.spans[0][1] == "First, 2+3."
    assert {parent for _, _, parent, _ in heard.spans} == set(heard.runs)
    assert heard.spans[0][3]["ls_model_name"] == "big"
    assert [generation.text for generation in heard.ended[:2]] == [" That is 5.", " That is 15."]


@pytest.mark.parametrize("stream", [False, True])
def test_traces_show_the_settings_and_nothing_else(stream):
    heard = Heard()
    config = {"callbacks": [heard]}
    model = scripted(streaming=stream, trigger="tag>0.5")
    model.invoke("hi", config, max_tokens=50)
    traced = dict(heard.params)
    list(model.stream("hi", config, max_tokens=50))
    assert heard.params == traced
    assert traced["trigger"] == "tag>0.5"
    assert traced["max_tokens"] == 50
    assert not any(name.startswith("splitreason") for name in traced)


async def test_tokens_are_counted_once():
    with get_usage_metadata_callback() as counted:
        done = scripted().invoke("hi")
        await scripted().ainvoke("hi")
    usage = counted.usage_metadata[done.response_metadata["model_name"]]
    assert usage["total_tokens"] == 2 * done.usage_metadata["total_tokens"]


def failing(**options):
    return SplitReasonLLM(
        small=ScriptedModel(SMALL),
        large=ScriptedModel(LARGE, fail_after=2, error=OSError("gone")),
        **options,
    )


def test_a_failing_large_model_leaves_an_answer_and_an_event():
    heard = Heard()
    done = failing().invoke("hi", {"callbacks": [heard]})
    assert done.content == ANSWER
    assert done.response_metadata["splitreason"]["degraded"]
    assert heard.names[2:] == [
        f"splitreason.handoff.{v}" for v in ("failed", "finished", "fell_back")
    ]
    assert isinstance(heard.failed[0], LargeModelError)
    assert len(heard.ended) == 1


async def test_an_error_that_was_asked_for_ends_the_span_too():
    heard, model = Heard(), failing(on_large_failure="raise")
    with pytest.raises(LargeModelError, match="gone"):
        model.invoke("hi", {"callbacks": [heard]})
    assert len(heard.failed) == 2
    with pytest.raises(LargeModelError, match="gone"):
        await model.ainvoke("hi")
    assert open_sessions(model) == 0


# Closing


def test_closing_a_stream_frees_both_models():
    model = scripted(delay_s=0.001)
    stream = model.stream("hi")
    parts = itertools.takewhile(lambda chunk: "That" not in str(chunk.additional_kwargs), stream)
    assert len(list(parts)) > 0
    assert open_sessions(model) == 2
    stream.close()
    assert open_sessions(model) == 0


async def test_closing_an_asynchronous_stream_frees_both_models():
    heard, model = Heard(), scripted(delay_s=0.001)
    stream = model.astream("hi", {"callbacks": [heard]})
    async for chunk in stream:
        if "That" in str(chunk.additional_kwargs):
            break
    assert open_sessions(model) == 2
    await stream.aclose()
    assert open_sessions(model) == 0
    assert len(heard.spans) == 1
    assert len(heard.failed) == 2


@pytest.mark.parametrize("streaming", [False, True])
async def test_cancelling_a_task_frees_both_models(streaming):
    model = scripted(delay_s=0.02)

    async def read():
        if streaming:
            return [chunk async for chunk in model.astream("hi")]
        return await model.ainvoke("hi")

    task = asyncio.create_task(read())
    await asyncio.sleep(0.4)
    assert open_sessions(model) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_sessions(model) == 0


async def test_the_embedded_pair_keeps_no_cache_of_a_stream_left_early(embedded):
    model = SplitReasonLLM(trigger="random:0.2", seed=1)
    stream = model.astream("What is 2 + 3?")
    await anext(stream)
    await stream.aclose()
    for chunk in model.stream("What is 2 + 3?"):
        if chunk.additional_kwargs.get("authors", [{}])[0].get("type") == "large":
            break
    await asyncio.sleep(0.2)
    assert [part.open_sessions for part in embedded] == [0, 0]

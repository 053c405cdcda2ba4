"""`SplitReasonLLM` beyond the standard suites: settings, messages, metadata, events, closing."""

import asyncio
import itertools
from pathlib import Path

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.exceptions import ContextOverflowError as LangChainContextOverflowError
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel, ValidationError

from langchain_splitreason import SplitReasonLLM, ToolChoiceError
from langchain_splitreason.messages import to_chat
from splitreason_integrations import Policy, Request, Sampling, SplitEngine, Tag
from splitreason_integrations import embedded as embedded_pair
from splitreason_integrations.errors import (
    ConfigurationError,
    ContextOverflowError,
    LargeModelError,
    RequestError,
    SplitReasonError,
    UnsupportedContentError,
)
from splitreason_integrations.records import Author
from splitreason_integrations.testing import ScriptedModel

# Loading and stream_events(version="v3") warn, once in a process, that they are in beta.
pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"
)

SMALL = "First, 2+3.<bigmodel> So 5.\nThen 5*3.<bigmodel> Fifteen.</think>\n\nThe answer is 15."
LARGE = " That is 5.</bigmodel> That is 15.</bigmodel>"
REASONING = "First, 2+3. That is 5. So 5.\nThen 5*3. That is 15. Fifteen."
ANSWER = "The answer is 15."


def scripted(small=SMALL, large=LARGE, *, delay_s=0.0, **options):
    return SplitReasonLLM(
        small=ScriptedModel(small, name="little", delay_s=delay_s),
        large=ScriptedModel(large, name="big", delay_s=delay_s),
        **{"seed": 1, **options},
    )


def joined(chunks):
    return sum(chunks[1:], chunks[0])


def open_sessions(model):
    return model.small.open_sessions + model.large.open_sessions


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


CALL = '</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


class Heard(BaseCallbackHandler):
    """Notes what a synchronous handler is told."""

    def __init__(self):
        self.events, self.spans, self.ended, self.failed, self.runs = [], [], [], [], []

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self.runs.append(run_id)
        self.params = kwargs["invocation_params"]

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.events.append((name, data, run_id))

    def on_llm_start(self, serialized, prompts, *, run_id, parent_run_id=None, **kwargs):
        self.spans.append((serialized["name"], prompts[0], parent_run_id, kwargs["metadata"]))

    def on_llm_end(self, response, *, run_id, **kwargs):
        self.ended.append(response.generations[0][0])

    def on_llm_error(self, error, **kwargs):
        self.failed.append(error)

    @property
    def names(self):
        return [name for name, _, _ in self.events]


class HeardLater(AsyncCallbackHandler):
    """Notes what an asynchronous handler is told."""

    def __init__(self):
        self.names = []

    async def on_custom_event(self, name, data, **kwargs):
        await asyncio.sleep(0)
        self.names.append(name)


# Settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 0}, "unknown option 'temprature'; did you mean 'temperature'"),
        ({"max_new_tokens": 5}, "unknown option 'max_new_tokens'; did you mean 'max_tokens'"),
        ({"small": "gpt-9"}, "unknown small model 'gpt-9'"),
        ({"large": 7}, "large must be a spec or a model"),
        ({"small": Path("models")}, "small must be a spec or a model"),
        ({"trigger": "sometimes"}, "unknown trigger 'sometimes'"),
        ({"trigger": 3}, "trigger must be a Trigger"),
        ({"policy": {"max_span": 1}}, "unknown policy cap 'max_span'; did you mean 'max_spans'"),
        ({"policy": {"max_spans": -1}}, "max_spans must be 0 or more"),
        ({"policy": "cheap"}, "policy must be a Policy or a dict"),
        ({"temperature": -1}, "temperature must lie in"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"timeout": 0}, "greater than 0"),
        ({"model": "embedded", "small": "embedded"}, "either model or small"),
    ],
)
def test_bad_settings_are_named(options, said):
    with pytest.raises(ValidationError, match=said):
        SplitReasonLLM(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 0}, "did you mean 'temperature'"),
        ({"streaming": True}, "unknown option 'streaming'"),
        ({"trigger": "sometimes"}, "unknown trigger"),
        ({"model": "gpt-9"}, "unknown small model"),
    ],
)
def test_bad_settings_of_one_call_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        scripted().invoke("hi", **options)


def test_settings_reach_the_engine():
    model = SplitReasonLLM(
        trigger="tag>0.25",
        policy={"max_spans": 3, "deadline_s": 9.0},
        timeout=2.5,
        temperature=0.5,
        stop_sequences="end",
        handback_tokens=3,
    )
    engine = model._engine()
    assert engine.trigger == Tag(threshold=0.25)
    assert engine.policy == Policy(max_spans=3, deadline_s=2.5)
    assert engine.handback_tokens == 3
    request = model._request([HumanMessage("hi")], None, [])
    assert request.sampling == Sampling(temperature=0.5)
    assert request.stop == ["end"]
    assert model._request([HumanMessage("hi")], ["now"], []).stop == ["now"]


def test_options_of_one_call_leave_the_model_alone():
    model = scripted()
    done = model.invoke("hi", trigger="never", max_tokens=5, seed=9)
    assert done.response_metadata["splitreason"]["tokens"] == {"small": 5, "large": 0}
    assert done.response_metadata["seed"] == 9
    assert (model.trigger, model.max_tokens, model.seed) == (Tag(), None, 1)


def test_the_model_can_be_named_at_once_or_for_one_call():
    base = f"hf:{embedded_pair.path('base')}"
    assert SplitReasonLLM(model=base).small == base
    both = SplitReasonLLM(model=f"splitreason/{base}+embedded")
    assert (both.small, both.large) == (base, "embedded")
    assert SplitReasonLLM(model=both.model_name).model_name == both.model_name
    assert SplitReasonLLM()._get_ls_params(model=base)["ls_model_name"] == base
    called = SplitReasonLLM(max_tokens=3, trigger="never").invoke("hi", model=base)
    assert called.response_metadata["model_name"] == f"splitreason/{base}+embedded"


def test_a_timeout_ends_the_reply_with_what_it_has():
    done = scripted(delay_s=0.02, timeout=0.1).invoke("hi")
    assert done.response_metadata["finish_reason"] == "deadline"
    assert done.additional_kwargs["reasoning_content"]


def test_stop_strings_of_the_model_and_of_the_call():
    model = scripted(stop=["15"])
    assert model.invoke("hi").content == "The answer is"
    assert model.invoke("hi", stop=["answer"]).content == "The"
    assert model.invoke("hi", stop=["answer"]).response_metadata["finish_reason"] == "stop"


def test_profile_tells_what_the_pair_can_do():
    profile = SplitReasonLLM().profile
    assert profile["max_input_tokens"] == 2048
    assert profile["tool_calling"]
    assert profile["reasoning_output"]
    assert not profile["image_inputs"]
    assert scripted().profile["max_input_tokens"] == 8192


def test_a_model_given_by_name_survives_being_written_down():
    model = SplitReasonLLM(
        small=f"hf:{embedded_pair.path('base')}",
        trigger="random:0.05",
        policy=Policy(max_usd=0.5),
        temperature=0,
        stop=["x"],
    )
    text = dumps(model)
    assert "not_implemented" not in text
    again = loads(
        text, allowed_objects=[SplitReasonLLM], valid_namespaces=["langchain_splitreason"]
    )
    assert again == model


def test_configurable_fields_are_taken_from_the_config():
    model = scripted().configurable_fields(
        max_tokens=ConfigurableField(id="length"), trigger=ConfigurableField(id="trigger")
    )
    config = {"configurable": {"length": 4, "trigger": "never"}}
    assert model.invoke("hi", config).usage_metadata["output_tokens"] == 4
    assert len(list(model.stream("hi", {"configurable": {"trigger": "never"}}))) > 2
    assert model.invoke("hi").content == ANSWER


# Messages


def test_messages_become_chat_messages():
    call = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    chat = to_chat(
        [
            SystemMessage("Be brief."),
            ChatMessage("Briefer.", role="developer"),
            HumanMessage([{"type": "text", "text": "1+"}, "2"], name="ann"),
            AIMessage(
                [
                    {"type": "thinking", "thinking": "Hm."},
                    {"type": "text", "text": "Wait."},
                    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                ],
                tool_calls=[call],
            ),
            ToolMessage([{"type": "text", "text": "3"}], tool_call_id="c1", name="add"),
            AIMessage("3", additional_kwargs={"reasoning_content": "Easy."}),
        ]
    )
    function = {"name": "add", "arguments": {"a": 1}}
    assert chat == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Briefer."},
        {"role": "user", "content": "1+2", "name": "ann"},
        {
            "role": "assistant",
            "content": "Wait.",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "3", "name": "add", "tool_call_id": "c1"},
        {"role": "assistant", "content": "3", "reasoning_content": "Easy."},
    ]


@pytest.mark.parametrize("kind", ["image_url", "image", "input_audio", "audio", "file", "video"])
def test_content_other_than_text_is_named(kind):
    message = HumanMessage([{"type": "text", "text": "See:"}, {"type": kind, kind: {"url": "x"}}])
    with pytest.raises(UnsupportedContentError, match=f"message 0: content of type '{kind}'"):
        scripted().invoke([message])


def test_messages_nobody_can_answer_are_named():
    with pytest.raises(RequestError, match="role 'critic'"):
        scripted().invoke([ChatMessage("no", role="critic")])
    with pytest.raises(RequestError, match="RemoveMessage"):
        scripted().invoke([RemoveMessage(id="1")])
    with pytest.raises(SplitReasonError, match="no messages"):
        scripted().invoke([])


def test_a_prompt_that_is_too_long_is_an_error_of_both_families():
    with pytest.raises(ContextOverflowError, match="holds 8192") as caught:
        scripted().invoke("word " * 9000)
    assert isinstance(caught.value, LangChainContextOverflowError)


# Replies


def test_reply_usage_and_metadata():
    done = scripted().invoke("hi")
    assert done.content == ANSWER
    assert done.additional_kwargs["reasoning_content"] == REASONING
    assert [block["type"] for block in done.content_blocks] == ["reasoning", "text"]
    metadata = done.response_metadata
    assert metadata["model_name"] == "splitreason/little+big"
    assert metadata["model_provider"] == "splitreason"
    assert metadata["finish_reason"] == "stop"
    facts = metadata["splitreason"]
    assert [span["text"] for span in facts["spans"]] == [" That is 5.", " That is 15."]
    usage = done.usage_metadata
    assert usage["output_tokens"] == sum(facts["tokens"].values())
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_token_details"]["large"] == facts["tokens"]["large"]
    assert 0 < usage["output_token_details"]["reasoning"] < usage["output_tokens"]


def stripped(message):
    """A reply without what differs from run to run."""
    metadata = dict(message.response_metadata)
    facts = metadata.pop("splitreason")
    spans = [(span["text"], span["start_token"]) for span in facts["spans"]]
    return (
        message.content,
        message.additional_kwargs,
        [(call["name"], call["args"]) for call in message.tool_calls],
        [(call["name"], call["args"]) for call in message.invalid_tool_calls],
        message.usage_metadata,
        metadata,
        facts["tokens"],
        spans,
    )


@pytest.mark.parametrize(
    "small",
    [
        SMALL,
        "</think>",
        "Only thoughts",
        "Well.<bigmodel>" + CALL,
        CALL + '<tool_call>{"name": "add", "argum</tool_call>',
        "a</think>\n\nText first.<bigmodel> More.\n" + CALL.removeprefix("</think>\n\n"),
    ],
)
async def test_every_door_gives_the_same_reply(small):
    model = scripted(small)
    invoked = stripped(model.invoke("hi"))
    assert stripped(joined(list(model.stream("hi")))) == invoked
    assert stripped(await model.ainvoke("hi")) == invoked
    assert stripped(joined([chunk async for chunk in model.astream("hi")])) == invoked
    assert stripped(model.batch(["hi", "hi"])[1]) == invoked
    assert stripped((await model.abatch(["hi", "hi"]))[1]) == invoked


@pytest.mark.parametrize("trigger", ["tag", "tag>0.05", "random:0.1"])
async def test_the_embedded_pair_repeats_itself_for_a_seed(trigger):
    text, seed = "Tom has 23 apples and buys 18 more. How many apples does Tom have?", 5
    model = SplitReasonLLM(trigger=trigger, temperature=0.8, seed=seed, max_tokens=60)
    engine = SplitEngine(trigger=model.trigger)
    request = Request(
        messages=[{"role": "user", "content": text}],
        sampling=Sampling(temperature=0.8),
        seed=seed,
        max_tokens=60,
    )
    done = await engine.complete(request)
    replies = [
        model.invoke(text),
        joined(list(model.stream(text))),
        await model.ainvoke(text),
        joined([chunk async for chunk in model.astream(text)]),
        *model.batch([text] * 2),
    ]
    for reply in replies:
        assert reply.content == done.answer
        assert reply.additional_kwargs.get("reasoning_content", "") == done.reasoning


def test_authors_of_chunks_and_of_the_whole():
    chunks = list(scripted().stream("hi"))
    parts = [part for chunk in chunks for part in chunk.additional_kwargs.get("authors", [])]
    assert {part["type"] for part in parts} == {Author.SMALL, Author.LARGE}
    large = "".join(part["text"] for part in parts if part["type"] == "large")
    assert large == " That is 5. That is 15."
    whole = joined(chunks).additional_kwargs["authors"]
    assert [part["type"] for part in whole] == ["small", "large", "small", "large", "small"]
    assert "".join(part["text"] for part in whole) == REASONING + ANSWER


def test_only_the_last_chunk_carries_metadata():
    *first, last = scripted().stream("hi")
    assert last.chunk_position == "last"
    assert not any(
        chunk.usage_metadata or "splitreason" in chunk.response_metadata for chunk in first
    )


# Tools


def test_tool_calls_and_what_becomes_of_them():
    model = scripted(lambda messages, tools: CALL if len(messages) == 1 else "</think>\n\n3.")
    bound = model.bind_tools([add])
    asked = HumanMessage("1+2?")
    called = bound.invoke([asked])
    assert called.tool_calls[0]["args"] == {"a": 1, "b": 2}
    assert called.response_metadata["finish_reason"] == "tool_calls"
    assert called.tool_calls[0]["id"] != bound.invoke([asked]).tool_calls[0]["id"]
    assert bound.invoke([asked, called, add.invoke(called.tool_calls[0])]).content == "3."


def test_broken_tool_calls_are_kept_apart():
    broken = '</think>\n\n<tool_call>{"name": "add", "arguments": {"a": 1</tool_call>'
    for reply in (scripted(broken).invoke("x"), joined(list(scripted(broken).stream("x")))):
        assert reply.tool_calls == []
        assert reply.invalid_tool_calls[0]["args"].endswith('{"a": 1')


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


@pytest.mark.parametrize(
    ("choice", "shown"),
    [(None, 2), ("auto", 2), ("none", 0), ("any", 2), ("required", 2), ("add", 1), (True, 2)],
)
def test_tool_choice_decides_which_tools_are_shown(choice, shown):
    seen = []
    model = scripted(lambda messages, tools: seen.append(len(tools or [])) or CALL)
    model.bind_tools([add, look_up], tool_choice=choice).invoke("1+2?")
    assert seen == [shown]


@pytest.mark.parametrize("choice", ["any", "look_up", {"function": {"name": "look_up"}}])
def test_a_required_call_that_was_not_made_is_an_error(choice):
    model = scripted("</think>No.").bind_tools([add, look_up], tool_choice=choice)
    with pytest.raises(ToolChoiceError, match="the reply has none"):
        model.invoke("1+2?")
    with pytest.raises(ToolChoiceError):
        list(model.stream("1+2?"))


def test_bad_tool_arguments_are_named():
    with pytest.raises(ConfigurationError, match="tool_choice 'sub'"):
        scripted().bind_tools([add], tool_choice="sub")
    with pytest.raises(ConfigurationError, match="unknown option 'tool_chioce'"):
        scripted().bind_tools([add], tool_chioce="any")


def test_structured_output_comes_from_a_tool_call():
    class Sum(BaseModel):
        """A sum."""

        total: int

    reply = '</think>\n\n<tool_call>{"name": "Sum", "arguments": {"total": 3}}</tool_call>'
    assert scripted(reply).with_structured_output(Sum).invoke("1+2?") == Sum(total=3)
    with pytest.raises(ToolChoiceError):
        scripted("</think>3").with_structured_output(Sum).invoke("1+2?")


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


EVENTS = [f"splitreason.handoff.{verb}" for verb in ("requested", "started", "finished")] * 2


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


def test_a_failing_large_model_leaves_an_answer_and_is_told():
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


# Around it


def test_replies_are_cached_where_that_is_asked_for():
    heard, model = Heard(), scripted(cache=InMemoryCache())
    first = model.invoke("hi", {"callbacks": [heard]})
    assert model.invoke("hi", {"callbacks": [heard]}).content == first.content
    assert heard.names == EVENTS


def test_configurable_settings_have_a_schema():
    model = SplitReasonLLM().configurable_fields(
        trigger=ConfigurableField(id="trigger"),
        small=ConfigurableField(id="small"),
        policy=ConfigurableField(id="policy"),
    )
    schema = str(model.get_config_jsonschema())
    assert all(name in schema for name in ("trigger", "small", "policy"))

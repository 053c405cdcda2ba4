"""`SplitReasonLLM`: replies, authors, metadata and tool calls."""

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.caches import InMemoryCache
from langchain_core.messages import (
    HumanMessage,
)
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_splitreason import SplitReasonLLM, ToolChoiceError
from splitreason_integrations import Request, Sampling, SplitEngine
from splitreason_integrations.errors import (
    ConfigurationError,
)
from splitreason_integrations.records import Author
from tests.adapters.langchain_fakes import (
    ANSWER,
    CALL,
    EVENTS,
    REASONING,
    SMALL,
    Heard,
    add,
    joined,
    scripted,
)

# Loading and stream_events(version="v3") warn, once in a process, that they are in beta.
pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"
)

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
    assert [(part["type"], part.get("channel")) for part in whole] == [
        *[("small", "reasoning"), ("large", "reasoning")] * 2,
        *[("small", "reasoning"), ("small", "answer")],
    ]
    assert "".join(part["text"] for part in whole if part["channel"] == "answer") == ANSWER
    assert "".join(part["text"] for part in whole) == REASONING + ANSWER


def test_only_the_last_chunk_has_metadata():
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
        assert reply.invalid_tool_calls[0]["args"].startswith('{"a": 1')
        assert reply.invalid_tool_calls[0]["name"] == "add"


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
    by_tool = {"method": "function_calling"}
    assert scripted(reply).with_structured_output(Sum, **by_tool).invoke("1+2?") == Sum(total=3)
    with pytest.raises(ToolChoiceError):
        scripted("</think>3").with_structured_output(Sum, **by_tool).invoke("1+2?")


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

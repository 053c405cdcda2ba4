"""The LlamaIndex adapter on scripted models: every door, tools, events, agents."""

import asyncio
from itertools import pairwise

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import (
    ChatMessage,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span import active_span_id
from llama_index.core.tools import FunctionTool
from pydantic import Field

from llama_index.llms.splitreason import OffloadEvent, SplitReasonLLM
from splitreason_integrations.errors import (
    ConfigurationError,
    SettingError,
    ToolChoiceError,
    UnsupportedContentError,
)
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import ANSWER, CALL, EVENTS, LARGE, REASONING, SMALL

ASK = [ChatMessage(role="user", content="How much?")]


def scripted(small=SMALL, large=LARGE, *, delay_s=0.0, **options):
    return SplitReasonLLM(
        small=ScriptedModel(small, name="little", delay_s=delay_s),
        large=ScriptedModel(large, name="big", delay_s=delay_s),
        **{"seed": 1, **options},
    )


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = FunctionTool.from_defaults(add)


class Heard(BaseEventHandler):
    """Notes offload events."""

    events: list = Field(default_factory=list)

    def handle(self, event, **kwargs):
        if isinstance(event, OffloadEvent):
            self.events.append(event)


@pytest.fixture
def heard():
    handler, dispatcher = Heard(), get_dispatcher()
    dispatcher.add_event_handler(handler)
    yield handler
    dispatcher.event_handlers.remove(handler)


async def collected(stream):
    return [one async for one in await stream]


DOORS = {
    "chat": lambda llm: llm.chat(ASK),
    "achat": lambda llm: asyncio.run(llm.achat(ASK)),
    "stream_chat": lambda llm: list(llm.stream_chat(ASK))[-1],
    "astream_chat": lambda llm: asyncio.run(collected(llm.astream_chat(ASK)))[-1],
}
PROMPT_DOORS = {
    "complete": lambda llm: llm.complete("How much?"),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("How much?")),
    "stream_complete": lambda llm: list(llm.stream_complete("How much?"))[-1],
    "astream_complete": lambda llm: asyncio.run(collected(llm.astream_complete("How much?")))[-1],
}


def test_it_is_an_llm():
    assert BaseLLM in SplitReasonLLM.__mro__
    facts = SplitReasonLLM().metadata
    assert (facts.is_chat_model, facts.is_function_calling_model) == (True, True)
    assert facts.context_window == 2048


@pytest.mark.parametrize("door", DOORS)
def test_every_chat_door_gives_the_same_reply(door, heard):
    llm = scripted()
    reply = DOORS[door](llm)
    thinking, text = reply.message.blocks
    assert isinstance(thinking, ThinkingBlock)
    assert isinstance(text, TextBlock)
    assert (thinking.content, text.text) == (REASONING, ANSWER)
    assert reply.message.content == ANSWER
    facts = reply.raw["splitreason"]
    assert [span["text"].strip() for span in facts["spans"]] == ["That is 5.", "That is 15."]
    assert [(one["type"], one.get("channel")) for one in reply.raw["authors"]] == [
        *[("small", "reasoning"), ("large", "reasoning")] * 2,
        *[("small", "reasoning"), ("small", "answer")],
    ]
    assert reply.raw["authors"][-1]["text"] == ANSWER
    usage = reply.additional_kwargs
    assert usage["completion_tokens"] == sum(facts["tokens"].values())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert [event.name for event in heard.events] == EVENTS
    assert {event.data["request_id"] for event in heard.events} == {
        heard.events[0].data["request_id"]
    }
    (span_id,) = {event.span_id for event in heard.events}
    assert span_id is not None
    assert span_id.startswith(f"SplitReasonLLM.{door}-")
    assert active_span_id.get() is None


@pytest.mark.parametrize("door", PROMPT_DOORS)
def test_every_completion_door_gives_the_answer(door, heard):
    reply = PROMPT_DOORS[door](scripted())
    assert reply.text == ANSWER
    assert reply.raw["splitreason"]["offload_share"] > 0
    assert reply.additional_kwargs["large_tokens"] > 0
    assert [event.name for event in heard.events] == EVENTS


def test_streams_are_cumulative_and_have_what_is_new():
    responses = list(scripted().stream_chat(ASK))
    assert len(responses) > 10
    assert "".join(one.delta for one in responses) == ANSWER
    thoughts = [one.additional_kwargs.get("thinking_delta") or "" for one in responses]
    assert "".join(thoughts) == REASONING
    texts = [one.message.content or "" for one in responses]
    assert all(after.startswith(before) for before, after in pairwise(texts))


def test_both_adapters_write_the_same():
    from tests.adapters import langchain_fakes

    reply, other = scripted().chat(ASK), langchain_fakes.scripted().invoke("How much?")
    assert reply.message.content == other.content
    mine, theirs = reply.raw["splitreason"], other.response_metadata["splitreason"]
    assert mine["tokens"] == theirs["tokens"]
    assert [s["text"] for s in mine["spans"]] == [s["text"] for s in theirs["spans"]]
    assert reply.additional_kwargs["total_tokens"] == other.usage_metadata["total_tokens"]


def test_leaving_a_stream_frees_both_models():
    llm = scripted(delay_s=0.01)
    stream = llm.stream_chat(ASK)
    next(stream)
    stream.close()
    assert llm.small.open_sessions + llm.large.open_sessions == 0


def test_tool_calls_are_blocks_and_selections():
    llm = scripted(CALL)
    reply = llm.chat_with_tools([ADD], user_msg="1 and 2?")
    (call,) = [block for block in reply.message.blocks if isinstance(block, ToolCallBlock)]
    assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 1, "b": 2})
    (selected,) = llm.get_tool_calls_from_response(reply)
    assert (selected.tool_name, selected.tool_kwargs) == ("add", {"a": 1, "b": 2})
    assert str(llm.predict_and_call([ADD], user_msg="1 and 2?")) == "3"


def test_only_one_call_where_only_one_is_allowed():
    two = CALL + CALL.removeprefix("</think>\n\n")
    both = scripted(two).chat_with_tools([ADD], user_msg="?", allow_parallel_tool_calls=True)
    one = scripted(two).chat_with_tools([ADD], user_msg="?")
    *_, streamed = scripted(two).stream_chat_with_tools([ADD], user_msg="?")
    asked = scripted(two).chat(ASK, tools=[tool(ADD)], parallel_tool_calls=False)
    select = SplitReasonLLM().get_tool_calls_from_response
    assert [len(select(reply)) for reply in (both, one, streamed, asked)] == [2, 1, 1, 1]
    written = [reply.raw["usage"]["completion_tokens"] for reply in (both, one, streamed, asked)]
    assert written[1:] == [written[1]] * 3
    assert written[1] < written[0]  # the first call ends the reply, and nothing is thrown away


def test_parallel_calls_are_true_or_false():
    with pytest.raises(SettingError, match="parallel_tool_calls must be true or false"):
        scripted(CALL).chat(ASK, tools=[tool(ADD)], parallel_tool_calls="no")


def tool(made):
    return made.metadata.to_openai_tool()


def test_a_required_call_that_is_missing_is_an_error():
    with pytest.raises(ToolChoiceError):
        scripted().chat_with_tools([ADD], user_msg="?", tool_required=True)
    with pytest.raises(ToolChoiceError):
        scripted().get_tool_calls_from_response(scripted().chat(ASK))


def test_broken_arguments_are_kept_and_call_nothing():
    broken = '</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a":}\n</tool_call>'
    llm = scripted(broken)
    reply = llm.chat_with_tools([ADD], user_msg="?")
    (call,) = [block for block in reply.message.blocks if isinstance(block, ToolCallBlock)]
    assert '"a":' in call.tool_kwargs
    (selected,) = llm.get_tool_calls_from_response(reply)
    assert selected.tool_name == "a call (not run: the call is no JSON)"
    assert selected.tool_kwargs == {"text": call.tool_kwargs}
    again = llm.chat([*ASK, reply.message, ChatMessage(role="tool", content="Error: bad JSON")])
    assert again.message is not None


# LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agent_calls_its_tool_and_answers(streaming):
    script = [CALL, "</think>\n\nIt is 3."]
    llm = SplitReasonLLM(small=ScriptedModel(script), large=ScriptedModel(LARGE))
    agent = FunctionAgent(tools=[ADD], llm=llm, streaming=streaming)
    running = agent.run("1 and 2?")
    seen = [event async for event in running.stream_events()]
    assert str(await running) == "It is 3."
    (result,) = [event for event in seen if isinstance(event, ToolCallResult)]
    assert result.tool_output.content == "3"
    if streaming:
        assert "".join(e.delta for e in seen if isinstance(e, AgentStream)) == "It is 3."


def test_options_are_checked_and_can_be_given_for_one_call():
    with pytest.raises(ValueError, match="did you mean 'trigger'"):
        SplitReasonLLM(triger="tag")
    llm = scripted()
    assert llm.chat(ASK, trigger="never").raw["splitreason"]["spans"] == []
    with pytest.raises(ConfigurationError, match="unknown option"):
        llm.chat(ASK, colour="red")


def test_images_are_refused_by_name():
    image = ChatMessage(role="user", blocks=[ImageBlock(url="https://example.org/a.png")])
    with pytest.raises(UnsupportedContentError, match="image"):
        scripted().chat([image])

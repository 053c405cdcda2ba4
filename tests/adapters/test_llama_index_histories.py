"""Histories that another LLM wrote: calls are shown, foreign content of assistants left out."""

from types import SimpleNamespace

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.memory import ChatMemoryBuffer

from llama_index.llms.splitreason import SplitReasonLLM
from llama_index.llms.splitreason.messages import to_chat
from splitreason_integrations.errors import UnsupportedContentError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.test_llama_index import ADD

IMAGE = ImageBlock(url="https://example.org/a.png")
QUOTE = CitationBlock(
    cited_content="The grass is green.", source="a.txt", title="A", additional_location_info={}
)


def shown(*messages):
    """The messages as the small model's template has them."""
    asked = []

    def reply(messages, tools):
        asked.extend(messages)
        return "</think>\n\nGreen."

    llm = SplitReasonLLM(small=ScriptedModel(reply), large=ScriptedModel("x"), trigger="never")
    assert llm.chat(list(messages)).message.content == "Green."
    return asked


FUNCTION = {"name": "add", "arguments": '{"a": 1, "b": 2}'}
ARGUMENTS = {"a": 1, "b": 2}
BLOCK = ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs=ARGUMENTS)
CALLS = {
    "openai": {"id": "c1", "type": "function", "function": FUNCTION},
    "openai object": SimpleNamespace(
        id="c1", type="function", function=SimpleNamespace(**FUNCTION), index=0
    ),
    "openai responses": {"type": "function_call", "id": "fc_9", "call_id": "c1", **FUNCTION},
    "anthropic": {"id": "c1", "type": "tool_use", "name": "add", "input": ARGUMENTS},
    "bedrock": {"toolUseId": "c1", "name": "add", "input": ARGUMENTS},
    "gemini": SimpleNamespace(id="c1", name="add", args=ARGUMENTS),
    "block": BLOCK,
    "saved block": BLOCK.model_dump(),
}


def made_by(call):
    extra = {"tool_calls": [call]}
    return ChatMessage(role="assistant", content="", additional_kwargs=extra)


@pytest.mark.parametrize("kind", CALLS)
def test_calls_of_other_llms_are_shown(kind):
    made = made_by(CALLS[kind])
    result = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "c1"})
    messages = shown(ChatMessage(role="user", content="1 and 2?"), made, result)
    calls = messages[1].get("tool_calls", [])
    assert [call["function"] for call in calls] == [{"name": "add", "arguments": ARGUMENTS}]
    assert calls[0]["id"] == messages[2]["tool_call_id"]


def test_the_other_llms_number_of_a_call_is_kept():
    numbers = [to_chat([made_by(call)])[0]["tool_calls"][0]["id"] for call in CALLS.values()]
    assert set(numbers) == {"c1"}


def test_calls_without_ids_and_the_old_single_one():
    ollama = {"tool_calls": [{"function": {"name": "add", "arguments": ARGUMENTS}}] * 2}
    messages = shown(
        ChatMessage(role="assistant", content="", additional_kwargs=ollama),
        ChatMessage(role="assistant", content="", additional_kwargs={"function_call": FUNCTION}),
    )
    assert [len(message.get("tool_calls", [])) for message in messages] == [2, 1]


def test_a_call_in_both_places_is_shown_once():
    both = ChatMessage(
        role="assistant",
        blocks=[BLOCK],
        additional_kwargs={"tool_calls": [CALLS["openai"], {"unknown": True}, None]},
    )
    (message,) = shown(both)
    assert [call["id"] for call in message["tool_calls"]] == ["c1"]


FOREIGN = [
    QUOTE,
    IMAGE,
    DocumentBlock(url="https://example.org/a.pdf"),
    ThinkingBlock(additional_information={"signature": "abc"}),
    CachePoint(cache_control=CacheControl(type="ephemeral")),
]


@pytest.mark.parametrize("block", FOREIGN, ids=lambda block: block.block_type)
def test_an_assistants_foreign_blocks_are_left_out(block):
    said = ChatMessage(role="assistant", blocks=[block, TextBlock(text="It is green.")])
    (message,) = shown(said)
    assert message == {"role": "assistant", "content": "It is green."}


def test_text_inside_of_blocks_is_kept():
    facts = CitableBlock(title="A", source="a.txt", content="The grass is green.")
    note = DocumentBlock(data=b"The sky is blue.", document_mimetype="text/plain")
    asked = ChatMessage(role="user", blocks=[facts, note, TextBlock(text="Which colour?")])
    user, assistant = shown(asked, ChatMessage(role="assistant", blocks=[QUOTE]))
    assert user["content"] == "The grass is green.\nThe sky is blue.\nWhich colour?"
    assert assistant["content"] == "The grass is green."


@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_others_content_is_strict(role):
    nested = CitableBlock(title="A", source="a.txt", content=[IMAGE])
    for block in (IMAGE, nested, ThinkingBlock(content="Hm"), BLOCK):
        with pytest.raises(UnsupportedContentError, match="content of type"):
            shown(ChatMessage(role=role, blocks=[block]))


# LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_an_agent_goes_on_in_the_thread_of_another_llm():
    """The other LLM called a tool, cited, thought, and failed then."""
    asked = []

    def reply(messages, tools):
        asked.append(messages)
        return "</think>\n\nIt is 3."

    history = [
        ChatMessage(role="user", content="1 and 2?"),
        ChatMessage(
            role="assistant",
            blocks=[ThinkingBlock(additional_information={"redacted": "x"}), QUOTE],
            additional_kwargs={"tool_calls": [CALLS["openai"]]},
        ),
        ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "c1"}),
    ]
    memory = ChatMemoryBuffer.from_defaults(chat_history=history, token_limit=1000)
    llm = SplitReasonLLM(small=ScriptedModel(reply), large=ScriptedModel("x"), trigger="never")
    result = await FunctionAgent(tools=[ADD], llm=llm).run("So?", memory=memory)
    assert str(result) == "It is 3."
    roles = [message["role"] for message in asked[0]]
    assert roles == ["user", "assistant", "tool", "user"]
    (call,) = asked[0][1].get("tool_calls", [])
    assert call["function"]["arguments"] == ARGUMENTS

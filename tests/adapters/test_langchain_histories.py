"""Histories that other providers' models wrote: what is text is kept, and the thread goes on."""

import base64

import pytest
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_splitreason import SplitReasonLLM
from langchain_splitreason.messages import to_chat
from splitreason_integrations.errors import UnsupportedContentError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import add, scripted

TEXT = {"type": "text", "text": "Three."}

IGNORED = [
    {"type": "redacted_thinking", "data": "x"},
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "x"}]},
    {"type": "server_tool_call", "id": "s1", "name": "web_search", "args": {}},
    {"type": "server_tool_result", "tool_call_id": "s1", "status": "success", "output": "x"},
    {"type": "web_search_call", "id": "w1", "status": "completed"},
    {"type": "mcp_tool_use", "id": "m1", "name": "x", "server_name": "s", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "m1", "content": []},
    {"type": "code_execution_tool_result", "tool_use_id": "s1", "content": {}},
    {"type": "executable_code", "executable_code": "1+2", "language": "python"},
    {"type": "image_generation_call", "id": "i1", "result": "aGk="},
    {"type": "image", "url": "https://x"},
    {"type": "input_json_delta", "partial_json": "{"},
    {"type": "non_standard", "value": {"type": "unheard_of"}},
    {"type": "unheard_of", "unheard_of": "x"},
    {"cachePoint": {"type": "default"}},
    {"guardContent": {"text": "x"}},
]


@pytest.mark.parametrize("block", IGNORED, ids=lambda block: str(block.get("type")))
@pytest.mark.parametrize("message", [AIMessage, lambda content: ChatMessage(content, role="ai")])
def test_a_block_that_is_no_text_is_ignored_in_what_a_model_wrote(block, message):
    (chat,) = to_chat([message([block, TEXT, block])])
    assert chat == {"role": "assistant", "content": "Three."}


@pytest.mark.parametrize("block", IGNORED, ids=lambda block: str(block.get("type")))
@pytest.mark.parametrize(
    "message", [HumanMessage, SystemMessage, lambda content: ToolMessage(content, tool_call_id="c")]
)
def test_it_is_named_in_what_others_wrote(block, message):
    with pytest.raises(UnsupportedContentError, match="message 0: content of type"):
        to_chat([message([TEXT, block])])


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "refusal", "refusal": "I will not."}, "I will not."),
        ({"type": "non_standard", "value": {"type": "refusal", "refusal": "No."}}, "No."),
        ({"type": "output_text", "text": "Yes.", "annotations": []}, "Yes."),
        ({"type": "text", "text": {"value": "Yes.", "annotations": []}}, "Yes."),
        ({"type": "text", "text": "Yes.", "citations": [{"cited_text": "x"}]}, "Yes."),
        ({"text": "Yes."}, "Yes."),
    ],
)
def test_what_is_text_is_kept(block, text):
    assert to_chat([AIMessage([block])]) == [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "beside", [{"refusal": "I will not."}, {"audio": {"id": "a", "transcript": "I will not."}}]
)
def test_what_was_left_beside_the_content_is_kept(beside):
    chat = to_chat([AIMessage("", additional_kwargs=beside)])
    assert chat == [{"role": "assistant", "content": "I will not."}]
    assert to_chat([AIMessage("Yes.", additional_kwargs=beside)])[0]["content"] == "Yes."


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text-plain", "text": "Three.", "mime_type": "text/plain"},
        {"type": "text-plain", "base64": base64.b64encode(b"Three.").decode()},
        {"type": "file", "source_type": "text", "text": "Three.", "mime_type": "text/plain"},
    ],
)
@pytest.mark.parametrize("message", [HumanMessage, AIMessage, SystemMessage])
def test_plain_text_is_text_whoever_wrote_it(message, block):
    assert to_chat([message([block])])[0]["content"] == "Three."


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text-plain", "url": "https://x"},
        {"type": "text-plain", "base64": "/w=="},
        {"type": "file", "base64": "aGk=", "mime_type": "application/pdf"},
    ],
)
def test_plain_text_that_is_not_there_is_named(block):
    with pytest.raises(UnsupportedContentError, match=f"content of type '{block['type']}'"):
        to_chat([HumanMessage([block])])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "reasoning", "reasoning": "Hm."},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "reasoning_content", "reasoning_content": {"text": "Hm.", "signature": "x"}},
        {"type": "non_standard", "value": {"type": "thinking", "thinking": "Hm."}},
    ],
)
def test_reasoning_is_kept_apart(block):
    (chat,) = to_chat([AIMessage([block, TEXT])])
    assert chat == {"role": "assistant", "content": "Three.", "reasoning_content": "Hm."}


FUNCTION = {"name": "add", "arguments": {"a": 1}}
USED = {"name": "add", "input": {"a": 1}}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
        {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}},
        {
            "type": "function_call",
            "id": "f",
            "call_id": "c1",
            "name": "add",
            "arguments": '{"a":1}',
        },
        {"toolUse": {"toolUseId": "c1", "name": "add", "input": {"a": 1}}},
        {
            "type": "non_standard",
            "value": {"type": "tool_use", "id": "c1", **FUNCTION, "input": {"a": 1}},
        },
    ],
)
def test_calls_that_are_only_in_blocks_do_not_vanish(block):
    (chat, _) = to_chat([AIMessage([TEXT, block]), ToolMessage("3", tool_call_id="c1")])
    assert chat["tool_calls"] == [{"id": "c1", "type": "function", "function": FUNCTION}]


def test_calls_that_are_in_both_are_made_once():
    block = {"type": "function_call", "name": "add", "arguments": "{}", "call_id": "c1"}
    call = {"name": "add", "args": {"a": 1}, "id": "c1"}
    (chat,) = to_chat([AIMessage([block], tool_calls=[call])])
    assert chat["tool_calls"] == [{"id": "c1", "type": "function", "function": FUNCTION}]


def test_function_calls_of_the_older_kind_do_not_vanish():
    called = AIMessage(
        "", additional_kwargs={"function_call": {"name": "add", "arguments": '{"a": 1}'}}
    )
    chat = to_chat([HumanMessage("1+2?"), called, FunctionMessage("3", name="add")])
    assert chat[1]["tool_calls"] == [{"id": "add", "type": "function", "function": FUNCTION}]
    assert chat[2] == {"role": "tool", "content": "3", "name": "add"}


THREAD = [
    SystemMessage("Be brief."),
    HumanMessage("1+2?"),
    AIMessage(
        [
            {"type": "reasoning", "id": "r", "summary": []},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
            {"type": "text", "text": "Let me add."},
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1, "b": 2}},
        ],
        tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"}],
        response_metadata={"model_provider": "anthropic"},
    ),
    ToolMessage("3", tool_call_id="c1"),
]


class Failing(ScriptedModel):
    def open(self, prompt, written=()):
        raise ConnectionError("down")


async def test_a_fallback_goes_on_in_mid_thread():
    seen = []

    def answer(messages, tools):
        seen.append(messages)
        return "</think>The answer is 3."

    down = SplitReasonLLM(small=Failing(""), large=ScriptedModel(""))
    ours = SplitReasonLLM(small=ScriptedModel(answer), large=ScriptedModel("x</bigmodel>"))
    chain = down.bind_tools([add]).with_fallbacks([ours.bind_tools([add])])
    assert chain.invoke(THREAD).content == "The answer is 3."
    assert (await chain.ainvoke(THREAD)).content == "The answer is 3."
    assert [message["role"] for message in seen[0]] == ["system", "user", "assistant", "tool"]
    assert seen[0][2]["content"] == "Let me add."


def test_the_embedded_pair_goes_on_behind_every_foreign_block():
    question = "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. How many cards"
    said = AIMessage([TEXT, *IGNORED], tool_calls=[])
    thread = [HumanMessage("1+2?"), said, HumanMessage(f"{question} does Mia have now?")]
    plain = [HumanMessage("1+2?"), AIMessage("Three."), thread[-1]]
    llm = SplitReasonLLM(seed=1)
    assert llm.invoke(thread).content == llm.invoke(plain).content


def test_a_text_cut_in_a_character_is_named():
    with pytest.raises(ValueError, match=r"messages, 0, 'content': character 3 .*surrogate"):
        scripted().invoke("hi \ud83d!")

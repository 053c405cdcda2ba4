"""Deep data in messages and tools: refused with a clear error by the engine and both adapters."""

import json

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from llama_index.core.llms import ChatMessage

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import AuditLog, Request, SplitEngine, blocking
from splitreason_integrations.audit.history import load
from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.encodable import check_encodable


def nested(levels, *, mapping=False):
    value = []
    for _ in range(levels):
        value = {"a": value} if mapping else [value]
    return value


def circular():
    value = {}
    value["again"] = [value]
    return value


DEEP = {
    "lists": nested(130),
    "mappings": nested(130, mapping=True),
    "very deep": nested(20_000),
    "in itself": circular(),
}
deep = pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP)


def call(arguments):
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}


def messages(arguments):
    return [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [call(arguments)]},
        {"role": "tool", "content": "done", "tool_call_id": "1"},
    ]


@deep
def test_data_that_is_too_deep_is_refused(deep):
    with pytest.raises(RequestError, match=r"things, .*nested more than 120 levels deep"):
        check_encodable(deep, "things")


@deep
@pytest.mark.parametrize("redact", [(), ("email",)])
def test_the_engine_refuses_it(deep, redact):
    request = Request(messages=messages({"x": deep}))
    with pytest.raises(RequestError, match="give its inner part as JSON text"):
        blocking.run(lambda: SplitEngine(redact=redact).complete(request))


@pytest.mark.parametrize("value", [DEEP["lists"], DEEP["very deep"]], ids=["deep", "very deep"])
def test_both_adapters_refuse_it(value):
    said = [
        ("human", "hello"),
        AIMessage("", tool_calls=[{"id": "1", "name": "f", "args": {"x": value}}]),
        ToolMessage("done", tool_call_id="1"),
    ]
    with pytest.raises(RequestError, match="nested more than 120 levels deep"):
        SplitReasonLLM().invoke(said)
    asked = [
        ChatMessage(role="user", content="hello"),
        ChatMessage(
            role="assistant", content="", additional_kwargs={"tool_calls": [call({"x": value})]}
        ),
        ChatMessage(role="tool", content="done", additional_kwargs={"tool_call_id": "1"}),
    ]
    with pytest.raises(RequestError, match="nested more than 120 levels deep"):
        LlamaIndexLLM().chat(asked)


@pytest.mark.parametrize("arguments", [{"x": nested(100)}, json.dumps({"x": nested(400)})])
def test_what_is_less_deep_or_text_is_answered_and_recorded(arguments, tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    request = Request(messages=messages(arguments), max_tokens=5, request_id="r")
    reply = blocking.run(lambda: SplitEngine(audit=log).complete(request))
    assert reply.tokens
    recorded = load(log.path).request("r").started["request"]["messages"]
    assert recorded[1]["tool_calls"][0]["function"]["arguments"] == arguments

"""A request whose prompt cannot fit is refused before the prompt is tokenised."""

import pytest
from llama_index.core.llms import ChatMessage

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Request, SplitEngine, blocking
from splitreason_integrations.errors import ContextOverflowError, RequestError

LONG = "some words to read, " * 20_000
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"f{at}",
            "description": "words to read " * 20,
            "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
    }
    for at in range(400)
]
SHORT = [{"role": "user", "content": "hello"}]
CALLED = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": LONG}}}
REQUESTS = {
    "a long message": {"messages": [{"role": "user", "content": LONG}]},
    "many messages": {"messages": [{"role": "user", "content": "hello there"}] * 5000},
    "many tools": {"messages": SHORT, "tools": TOOLS},
    "a long call": {
        "messages": [
            *SHORT,
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
            {"role": "tool", "content": "done", "tool_call_id": "1"},
        ]
    },
}


@pytest.mark.parametrize("given", REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_refused_before_its_prompt_is_tokenised(given):
    with pytest.raises(ContextOverflowError, match="tokens or more") as caught:
        blocking.run(lambda: SplitEngine().complete(Request(**given)))
    assert "shorten the messages, the tools" in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: SplitReasonLLM().invoke(LONG),
        lambda: LlamaIndexLLM().chat([ChatMessage(role="user", content=LONG)]),
    ],
    ids=["langchain", "llama_index"],
)
def test_both_adapters_say_so(ask):
    with pytest.raises(RequestError, match="tokens or more"):
        ask()

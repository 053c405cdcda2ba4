"""Counts of tokens: what the small model reads, and nothing fetched for it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.tools import tool

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import (
    OpenAIServerModel,
    TransformersModel,
    blocking,
    embedded,
    release,
)
from splitreason_integrations.backends.embedded_codec import embedded_codec
from splitreason_integrations.backends.registry import is_loaded, load_model
from splitreason_integrations.errors import ModelLoadError, UnsupportedContentError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import add, scripted

CALLED = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"}])
HISTORY = [
    SystemMessage("Be brief."),
    HumanMessage("What is 1+2?"),
    CALLED,
    ToolMessage("3", tool_call_id="c1", name="add"),
    AIMessage("It is 3.", additional_kwargs={"reasoning_content": "One and two."}),
    HumanMessage("And 3+4?"),
]
SOCKETS = pytest.mark.allow_hosts(["127.0.0.1"])
FOLDER = str(embedded.path("small"))


@pytest.fixture(params=["by name", "as an object", "loaded", "on a server"])
def model(request):
    small = {
        "by name": "embedded",
        "as an object": TransformersModel(FOLDER, device="cpu", name="counted"),
        "loaded": ScriptedModel("</think>Yes."),
        "on a server": OpenAIServerModel("http://127.0.0.1:9/v1", "m", tokenizer=FOLDER),
    }
    return SplitReasonLLM(small=small[request.param], large="embedded")


def test_texts_are_counted_by_the_small_models_tokenizer(model):
    codec, text = embedded_codec(), "Mia has 47 boxes. <|im_end|> ß 雪"
    assert model.get_token_ids(text) == codec.encode(text)
    assert model.get_num_tokens(text) == len(codec.encode(text))
    assert model.get_num_tokens("") == 0


def test_messages_are_counted_by_its_template(model):
    hello = embedded_codec().render([{"role": "user", "content": "hello"}], None)
    assert model.get_num_tokens_from_messages([HumanMessage("hello")]) == len(hello.token_ids)
    assert model.get_num_tokens_from_messages([]) == 0


@pytest.mark.parametrize("tools", [[], [add]], ids=["no tools", "tools"])
@pytest.mark.parametrize("more", [{}, {"thinking": False}], ids=["thinks", "does not think"])
def test_a_count_is_what_a_reply_says_it_read(tools, more):
    llm = SplitReasonLLM(
        small=TransformersModel(FOLDER, device="cpu", hint="Think hard."), large="embedded", **more
    )
    asked = llm.bind_tools(tools) if tools else llm
    read = asked.invoke(HISTORY, max_tokens=1).usage_metadata["input_tokens"]
    assert llm.get_num_tokens_from_messages(HISTORY, tools) == read
    assert llm.get_num_tokens_from_messages(HISTORY) < read or not tools


def test_what_the_large_models_template_adds_is_counted(other_codec):
    small = ScriptedModel("Yes.", codec=other_codec)
    llm = SplitReasonLLM(small=small, large="embedded", trigger="random:0")
    hello = [HumanMessage("hello")]
    read = llm.invoke(hello, max_tokens=1).usage_metadata["input_tokens"]
    assert llm.get_num_tokens_from_messages(hello) == read
    alone = SplitReasonLLM(small=small, large="embedded", trigger="never")
    own = alone.invoke(hello, max_tokens=1).usage_metadata["input_tokens"]
    assert alone.get_num_tokens_from_messages(hello) == own < read


def test_nothing_is_loaded_for_a_count():
    small = TransformersModel(FOLDER, device="cpu", name="not loaded")
    llm = SplitReasonLLM(small=small, large="embedded")
    assert llm.get_num_tokens_from_messages(HISTORY) > 40
    assert not is_loaded(small, role="small")
    counted = llm.get_num_tokens_from_messages(HISTORY)
    blocking.run(lambda: load_model(small, role="small"))
    assert llm.get_num_tokens_from_messages(HISTORY) == counted
    release(small)


@pytest.mark.parametrize(
    "small",
    [
        "hf:nobody/has-this-model",
        "vllm:nobody/has-this-model",
        pytest.param("http://127.0.0.1:9/v1#m", marks=SOCKETS),
        OpenAIServerModel("http://127.0.0.1:9/v1", "m", tokenizer="nobody/has-this-model"),
    ],
)
def test_without_its_tokenizer_a_count_is_said_to_be_an_estimate(small):
    llm = SplitReasonLLM(small=small, large=small)
    with pytest.warns(UserWarning, match=r"tokens are estimated: .*m|has-this-model"):
        assert llm.get_num_tokens("x" * 40) == 10
    with pytest.warns(UserWarning, match="tokens are estimated"):
        few = llm.get_num_tokens_from_messages(HISTORY)
    with pytest.warns(UserWarning, match="tokens are estimated"):
        assert 20 < few < llm.get_num_tokens_from_messages(HISTORY, [add]) < 400
    with pytest.raises(ModelLoadError):
        llm.get_token_ids("x")


class Refusing(BaseHTTPRequestHandler):
    """Refuses all, and counts it."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.send_error(503)

    def log_message(self, *args):
        pass


@SOCKETS
def test_a_server_that_fails_is_not_asked_again_for_each_count():
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        small = f"http://127.0.0.1:{server.server_port}/v1#m"
        llm = SplitReasonLLM(small=small, large=small)
        with pytest.warns(UserWarning, match="estimated"):
            trimmed = trim_messages(HISTORY * 4, max_tokens=60, token_counter=llm)
        once = Refusing.asked
        with pytest.warns(UserWarning, match="estimated"):
            llm.get_num_tokens("hello")
        server.shutdown()
    assert 0 < len(trimmed) < len(HISTORY * 4)
    assert once == Refusing.asked == 1


def test_a_function_of_the_callers_own_counts_instead():
    llm = scripted(custom_get_token_ids=lambda text: [1] * 7)
    assert llm.get_num_tokens("hello") == 7
    assert llm.get_num_tokens_from_messages([HumanMessage("hello")]) == 7


def test_content_other_than_text_is_named():
    with pytest.raises(UnsupportedContentError, match="message 0"):
        scripted().get_num_tokens_from_messages([HumanMessage([{"type": "image", "url": "x"}])])


class Strict:
    """A template that takes a user's message first, and then turns alone."""

    def __init__(self):
        self._codec = embedded_codec()

    def __getattr__(self, name):
        return getattr(self._codec, name)

    def render(self, messages, tools, *, thinking=None):
        from splitreason_integrations.errors import RequestError

        if messages[0]["role"] != "user":
            raise RequestError("its chat template refuses these messages")
        return self._codec.render(messages, tools, thinking=thinking)


def test_a_history_that_the_template_refuses_is_counted_by_its_texts():
    llm = SplitReasonLLM(small=ScriptedModel("x", codec=Strict()), large="embedded")
    cut = [AIMessage("word " * 50), HumanMessage("hi")]
    texts = len(embedded_codec().encode("word " * 50))
    assert texts < llm.get_num_tokens_from_messages(cut) < texts + 60
    with_tools = llm.get_num_tokens_from_messages(cut, [add])
    assert with_tools > llm.get_num_tokens_from_messages(cut)


# What trims by it


def test_a_tokenizer_that_is_given_is_used_at_once():
    missing = OpenAIServerModel("http://127.0.0.1:9/v1", "x", tokenizer="nobody/has-this-one")
    given = OpenAIServerModel("http://127.0.0.1:9/v1", "x", tokenizer=FOLDER)
    with pytest.warns(UserWarning, match="estimated"):
        SplitReasonLLM(small=missing, large="embedded").get_num_tokens("hello")
    ids = SplitReasonLLM(small=given, large="embedded").get_token_ids("hello")
    assert ids == embedded_codec().encode("hello")


@pytest.mark.parametrize("strategy", ["first", "last"])
@pytest.mark.parametrize("partial", [False, True])
def test_trimmed_messages_fit_and_one_more_would_not(strategy, partial):
    llm = SplitReasonLLM()
    turns = [
        message
        for n in range(12)
        for message in (HumanMessage(f"What is {n}+{n}?"), AIMessage(f"It is {2 * n}."))
    ]
    limit = 120
    kept = trim_messages(
        turns, max_tokens=limit, token_counter=llm, strategy=strategy, allow_partial=partial
    )
    assert llm.get_num_tokens_from_messages(kept) <= limit
    more = turns[: len(kept) + 1] if strategy == "first" else turns[-len(kept) - 1 :]
    assert llm.get_num_tokens_from_messages(more) > limit


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word}: " + "a long story " * 60


def looked_up(messages, tools):
    seen = [message for message in messages if message["role"] == "tool"]
    if len(seen) < 3:
        call = json.dumps({"name": "look_up", "arguments": {"word": f"w{len(seen)}"}})
        return f"</think>\n\n<tool_call>\n{call}\n</tool_call>"
    return f"</think>{sum('a long story' in message['content'] for message in seen)} whole"


def test_context_editing_clears_what_is_over_the_limit():
    edit = ClearToolUsesEdit(trigger=600, keep=1, placeholder="[cleared]")
    agent = create_agent(
        SplitReasonLLM(small=ScriptedModel(looked_up), large="embedded"),
        tools=[look_up],
        middleware=[ContextEditingMiddleware(edits=[edit], token_count_method="model")],
    )
    done = agent.invoke({"messages": [("human", "Look three words up.")]})
    assert done["messages"][-1].content == "1 whole"


def test_summarisation_begins_at_its_limit():
    said = []

    def reply(messages, tools):
        asks_summary = "extract" in str(messages[-1]["content"]).lower()
        said.append(asks_summary)
        return "</think>SUMMARY" if asks_summary else "</think>Yes."

    llm = SplitReasonLLM(small=ScriptedModel(reply), large="embedded")
    summary = SummarizationMiddleware(
        llm,
        trigger=("tokens", 300),
        keep=("messages", 2),
        token_counter=llm.get_num_tokens_from_messages,
    )
    agent = create_agent(llm, tools=[], middleware=[summary])
    short = [HumanMessage("hi"), AIMessage("Yes."), HumanMessage("hi")]
    agent.invoke({"messages": short})
    assert said == [False]
    long = [HumanMessage("word " * 100), AIMessage("word " * 200), *short]
    done = agent.invoke({"messages": long})
    assert said == [False, True, False]
    assert "SUMMARY" in done["messages"][0].content
    assert done["messages"][-1].content == "Yes."


def test_a_count_can_be_made_on_the_loop_that_serves_synchronous_callers():
    llm = scripted()

    async def count():
        return llm.get_num_tokens("hello there")

    assert blocking.run(count) == llm.get_num_tokens("hello there") > 0

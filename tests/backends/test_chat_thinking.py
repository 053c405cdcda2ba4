"""What a chat is sent so that a model thinks or does not, and how a refusal is taken."""

import pytest

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.openai_server.chat import Chat, PlainChat
from splitreason_integrations.backends.openai_server.chat_answer import StepAnswer
from splitreason_integrations.backends.openai_server.dialects import Continuation, Served
from splitreason_integrations.backends.openai_server.refusals import Lessons
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.thinking import TemplateSettings
from tests.text.templates import codec

HELLO = [{"role": "user", "content": "Hello"}]
HOSTED = {
    "api.deepseek.com": {"thinking": {"type": "disabled"}},
    "api.moonshot.ai": {"thinking": {"type": "disabled"}},
    "dashscope-intl.aliyuncs.com": {"enable_thinking": False},
    "openrouter.ai": {"reasoning": {"enabled": False}},
    "api.openai.com": {"reasoning_effort": "none"},
    "10.0.0.1": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
}


def body(dialect, some_codec, **more):
    order = WriteOrder(
        max_tokens=8, sampling=Sampling(), seed=0, stream=0, stop_tokens=some_codec.end_tokens
    )
    prompt = some_codec.render(HELLO, None, **more)
    return dialect.question(Continuation(prompt, (), order, 8)).body


def refusal(words):
    return ModelCallError(words, retryable=False, status=400, said=words)


@pytest.mark.parametrize("host", HOSTED)
def test_each_provider_has_its_own_switch(host):
    some = codec("qwen3", template=TemplateSettings(thinking=False))
    sent = body(PlainChat(Served("m", some, 999, host=host)), some)
    assert sent.items() >= HOSTED[host].items()
    unset = codec("qwen3")
    sent = body(PlainChat(Served("m", unset, 999, host=host)), unset)
    assert not sent.keys() & HOSTED[host].keys()


def test_what_continues_the_reply_thinks_as_the_reply_does():
    """A helper's own setting is for its private thoughts: the reply itself has a thought or not."""
    some = codec("qwen3", template=TemplateSettings(thinking=False))
    served = Served("m", some, 999)
    asked = {"thinking": True}
    on, off = dict.fromkeys(("enable_thinking", "thinking"), True), {"enable_thinking": False}
    assert body(Chat(served, "continue"), some, **asked)["chat_template_kwargs"] == on
    assert body(PlainChat(served), some, **asked)["chat_template_kwargs"].items() >= off.items()


@pytest.mark.parametrize(
    ("host", "name"),
    [("", "chat_template_kwargs"), ("api.openai.com", "reasoning_effort")],
)
def test_a_switch_is_left_out_where_it_is_refused(host, name):
    some = codec("qwen3", template=TemplateSettings(thinking=False))
    sent, lessons = body(PlainChat(Served("m", some, 999, host=host)), some), Lessons()
    assert lessons.learn(refusal(f"Unrecognized request argument supplied: {name}"), sent)
    assert name not in lessons.fitted(sent)


def test_variables_of_the_template_are_sent():
    some = codec("qwen3", template=TemplateSettings(None, {"reasoning_effort": "low"}))
    sent = body(PlainChat(Served("m", some, 999)), some)
    assert sent["chat_template_kwargs"] == {"reasoning_effort": "low"}


CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
TURNS = [
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "hm"},
    {"role": "tool", "content": "1", "tool_call_id": "1"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "2", "tool_call_id": "1"},
]
MISSING = [
    "thinking is enabled but reasoning_content is missing in assistant tool call message",
    'The "reasoning_content" in the thinking mode must be passed back to the API.',
]


def thoughts(dialect, some_codec):
    order = WriteOrder(
        max_tokens=8, sampling=Sampling(), seed=0, stream=0, stop_tokens=some_codec.end_tokens
    )
    prompt = some_codec.render(TURNS, None)
    sent = dialect.question(Continuation(prompt, some_codec.encode("So"), order, 8)).body
    return [one.get("reasoning_content") for one in sent["messages"] if one.get("tool_calls")]


@pytest.mark.parametrize("said", MISSING)
@pytest.mark.parametrize("name", ["prefix", "partial", "trailing", "plain"])
def test_earlier_thoughts_are_sent_where_a_provider_wants_them(name, said):
    some = codec("qwen3")
    served = Served("m", some, 999)
    dialect = PlainChat(served) if name == "plain" else Chat(served, name)
    assert thoughts(dialect, some) == [None, None]
    assert dialect.adapts(refusal(said))
    # A turn that has none gets a space: an empty text counts as missing.
    assert thoughts(dialect, some) == ["hm", " "]
    assert dialect.adapts(refusal("messages.1.reasoning_content: Extra inputs are not permitted"))
    assert thoughts(dialect, some) == [None, None]
    assert not dialect.adapts(refusal(said)), "a server that refuses both is not asked for ever"


def test_a_server_that_renders_the_template_gets_them_at_once():
    some = codec("qwen3")
    assert thoughts(Chat(Served("m", some, 999), "continue"), some) == ["hm", " "]


PREFILL = (
    "This model does not support assistant message prefill. The conversation must end with a user "
    "message."
)


@pytest.mark.parametrize("name", ["continue", "prefix", "partial", "trailing"])
def test_a_refused_beginning_has_the_next_step_asked_for(name):
    some = codec("qwen3")
    dialect = Chat(Served("m", some, 999), name)
    order = WriteOrder(
        max_tokens=8, sampling=Sampling(), seed=0, stream=0, stop_tokens=some.end_tokens
    )
    wanted = Continuation(some.render(HELLO, None), some.encode("So 2*2 ="), order, 8)
    assert dialect.question(wanted).body["messages"][-1]["role"] == "assistant"
    assert not dialect.adapts(refusal("max_tokens is too large"))
    assert dialect.adapts(refusal(PREFILL))
    asked = dialect.question(wanted).body["messages"]
    assert asked[-1]["role"] == "user"
    assert "So 2*2 =" in asked[-1]["content"]
    assert isinstance(dialect.answer(wanted), StepAnswer)
    assert dialect.ahead_tokens > 0
    assert not dialect.adapts(refusal(PREFILL))


def test_nothing_but_a_refusal_of_the_question_teaches():
    dialect = Chat(Served("m", codec("qwen3"), 999), "trailing")
    assert not dialect.adapts(ModelCallError(PREFILL, retryable=True, status=503, said=PREFILL))
    assert not dialect.adapts(ModelCallError(PREFILL, retryable=False, status=None, said=PREFILL))

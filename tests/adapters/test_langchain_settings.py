"""`SplitReasonLLM`: settings and messages, and what is said of bad ones."""

from pathlib import Path

import pytest
from langchain_core._api import LangChainBetaWarning
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
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from langchain_splitreason import SplitReasonLLM
from langchain_splitreason.messages import to_chat
from splitreason_integrations import Policy, Sampling, Tag
from splitreason_integrations import embedded as embedded_pair
from splitreason_integrations.errors import (
    ContextOverflowError,
    RequestError,
    SplitReasonError,
    UnsupportedContentError,
)
from tests.adapters.langchain_fakes import (
    ANSWER,
    scripted,
)

# Loading and stream_events(version="v3") warn, once in a process, that they are in beta.
pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"
)

# Settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 0}, "unknown option 'temprature'; did you mean 'temperature'"),
        ({"max_new_tokens": 5}, "unknown option 'max_new_tokens'; did you mean 'max_tokens'"),
        ({"small": "gpt-9"}, "unknown small model 'gpt-9'"),
        ({"large": 7}, "large must be a text such as"),
        ({"small": Path("models")}, "small must be a text such as"),
        ({"trigger": "sometimes"}, "unknown trigger 'sometimes'"),
        ({"trigger": 3}, "trigger must be a Trigger"),
        ({"close": 3}, "close must be a CloseRule"),
        ({"close_threshold": 0.3}, 'write close = "tag>0.3"'),
        ({"policy": {"max_span": 1}}, "'max_span'; did you mean 'max_spans'"),
        ({"policy": {"max_spans": -1}}, "max_spans must be 0 or more"),
        ({"policy": "balance"}, "policy template 'balance'; did you mean 'balanced'"),
        ({"policy": 3}, "policy must be a Policy, a dict"),
        ({"request_metadata": {"tenant": 3}}, "request_metadata"),
        ({"temperature": -1}, "temperature must lie in"),
        ({"max_tokens": 0}, "max_tokens must be 1 or more"),
        ({"timeout": 0}, "timeout must be above 0"),
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
        ({"close": "sometimes"}, "unknown close rule"),
        ({"close_threshold": 1}, 'write close = "tag>1"'),
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
    engine = model.engine()
    assert engine.trigger == Tag(threshold=0.25)
    assert engine.policy == Policy(max_spans=3, deadline_s=2.5)
    assert engine.handback_tokens == 3
    hello = [{"role": "user", "content": "hi"}]
    request = model.request(hello)
    assert request.sampling == Sampling(temperature=0.5)
    assert request.stop == ["end"]
    assert model.request(hello, stop=["now"]).stop == ["now"]


def test_options_of_one_call_leave_the_model_alone():
    model = scripted()
    done = model.invoke("hi", trigger="never", max_tokens=5, seed=9)
    assert done.response_metadata["splitreason"]["tokens"] == {"small": 5, "large": 0}
    assert done.response_metadata["seed"] == 9
    assert (model.trigger, model.max_tokens, model.seed) == (None, None, 1)


def test_the_model_can_be_named_at_once_or_for_one_call():
    base = f"hf:{embedded_pair.path('base')}"
    assert SplitReasonLLM(model=base, large="embedded").small == base
    both = SplitReasonLLM(model=f"splitreason/{base}+embedded")
    assert (both.small, both.large) == (base, "embedded")
    assert SplitReasonLLM(model=both.model_name).model_name == both.model_name
    assert SplitReasonLLM()._get_ls_params(model=base)["ls_model_name"] == base
    bundled = SplitReasonLLM(model="embedded", max_tokens=3, trigger="never")
    called = bundled.invoke("hi", model=base)
    assert called.response_metadata["model_name"] == f"splitreason/{base}+embedded"


def test_a_timeout_ends_the_reply_with_what_it_has():
    done = scripted(delay_s=0.2, timeout=1.0).invoke("hi")
    assert done.response_metadata["finish_reason"] == "deadline"
    assert done.additional_kwargs["reasoning_content"]


def test_stop_strings_of_the_model_and_of_the_call():
    model = scripted(stop=["15"])
    assert model.invoke("hi").content == "The answer is"
    assert model.invoke("hi", stop=["answer"]).content == "The"
    assert model.invoke("hi", stop=["answer"]).response_metadata["finish_reason"] == "stop"


def test_profile_says_what_the_pair_can_do():
    profile = SplitReasonLLM().profile
    assert profile["max_input_tokens"] == 2048
    assert profile["tool_calling"]
    assert profile["reasoning_output"]
    assert not profile["image_inputs"]
    assert scripted().profile["max_input_tokens"] == 8192


def test_a_model_given_by_name_survives_being_written_down():
    model = SplitReasonLLM(
        small=f"hf:{embedded_pair.path('base')}",
        large="embedded",
        trigger="random:0.05 | entropy>2",
        close="agrees | step",
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

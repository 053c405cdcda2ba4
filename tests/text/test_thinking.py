"""Thoughts are switched on and off, by the template's own switch or in the family's marks."""

from dataclasses import replace

import pytest

from splitreason_integrations import (
    Always,
    Never,
    OpenAIServerModel,
    Request,
    TransformersModel,
    VLLMModel,
)
from splitreason_integrations.errors import RequestError, SettingError
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.text.prompts import align_reasoning, begins_reasoning
from splitreason_integrations.text.thinking import TemplateSettings
from tests.loop.engine_runs import complete, engine
from tests.text.templates import codec

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "Does.", "parameters": {"type": "object"}},
}
QWEN = ["qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8"]
DEEPSEEK = ["deepseek_r1_distill", "deepseekv3", "deepseek_v3_1"]
OTHERS = ["glm4moe", "nemotron_3_nano", "nemotron_3_super"]
SPECS = [
    lambda **more: TransformersModel("m", **more),
    lambda **more: VLLMModel("m", **more),
    lambda **more: OpenAIServerModel("http://127.0.0.1:1/v1", "m", **more),
]


def text(some_codec, prompt):
    return some_codec.decode(prompt.token_ids)


@pytest.mark.parametrize("name", [*QWEN, *DEEPSEEK, *OTHERS])
def test_without_thinking_the_reply_begins_behind_an_ended_thought(name):
    some = codec(name)
    prompt = some.render(HELLO, None, thinking=False)
    assert not begins_reasoning(prompt)
    assert prompt.header.rstrip().endswith("</think>")
    assert text(some, prompt).endswith(prompt.header)
    assert prompt.thinks is False


@pytest.mark.parametrize("name", [*QWEN, *DEEPSEEK, *OTHERS])
def test_with_thinking_nothing_ends_the_thought_before_it_begins(name):
    some = codec(name)
    prompt = some.render(HELLO, None, thinking=True)
    assert "</think>" not in prompt.header
    assert text(some, prompt).endswith(prompt.header)


@pytest.mark.parametrize("name", [*QWEN, *DEEPSEEK, *OTHERS, "llama3_1", "gptoss"])
def test_unset_it_is_the_template_alone_that_decides(name):
    some = codec(name)
    prompt = some.render(HELLO, None)
    plain = some._tokenizer.apply_chat_template(HELLO, tokenize=False, add_generation_prompt=True)
    assert text(some, prompt) == plain


@pytest.mark.parametrize("name", ["qwen3", "deepseek_r1_distill", "gptoss"])
def test_a_reply_without_thinking_has_none(name):
    """Even where the model begins one all the same."""
    some = codec(name)
    form = some.reply_format
    begins = f"{form.begin_of_reasoning}hm{form.end_of_reasoning}"
    answer = f"{begins}{form.answer_start}Seven."
    models = [ScriptedModel(answer, name=role, codec=some) for role in ("small", "large")]
    asked = Request(messages=HELLO, seed=1, thinking=False)
    for trigger in (Never(), Always()):
        reply = complete(engine(models, trigger=trigger), asked)
        assert (reply.reasoning, reply.reasoning_tokens) == ("", 0)
        assert "Seven." in reply.answer


def test_the_request_goes_before_the_model():
    some = codec("qwen3", template=TemplateSettings(thinking=False))
    assert "</think>" in some.render(HELLO, None).header
    assert "</think>" not in some.render(HELLO, None, thinking=True).header


def test_further_variables_reach_the_template():
    low = codec("gptoss", template=TemplateSettings(None, {"reasoning_effort": "low"}))
    assert "Reasoning: low" in text(low, low.render(HELLO, None))
    own = codec("qwen3", template=TemplateSettings(True, {"enable_thinking": False}))
    assert "</think>" in own.render(HELLO, None).header


def test_gpt_oss_answers_at_once_without_tools_and_is_refused_with_them():
    some = codec("gptoss")
    header = some.render(HELLO, None, thinking=False).header
    assert header.endswith("<|channel|>final<|message|>")
    with pytest.raises(RequestError, match="max_reasoning_tokens"):
        some.render(HELLO, [TOOL], thinking=False)


@pytest.mark.parametrize("name", ["llama3_1", "qwen2_5", "phi3"])
def test_a_model_that_never_reasons(name):
    some = codec(name)
    some._control = {k: v for k, v in some._control.items() if "think" not in k}
    assert not some.reply_format.reasons
    plain = some.render(HELLO, None)
    assert replace(some.render(HELLO, None, thinking=False), thinks=None) == plain
    with pytest.raises(RequestError, match="leave thinking unset"):
        some.render(HELLO, None, thinking=True)


def test_a_large_model_that_cannot_think_helps_one_that_can():
    small, large = codec("qwen3_6"), codec("qwen2_5")
    large._control = {k: v for k, v in large._control.items() if "think" not in k}
    models = [
        ScriptedModel("hm</think>Seven.", name="small", codec=small),
        ScriptedModel("x", name="large", codec=large),
    ]
    asked = Request(messages=HELLO, seed=1, thinking=True)
    assert complete(engine(models, trigger=Always()), asked).stop_reason == "stop"


def test_neither_model_thinks_where_the_small_one_does_not():
    small = codec("qwen3", template=TemplateSettings(thinking=False)).render(HELLO, None)
    large_codec = codec("deepseek_r1_distill")
    large = large_codec.render(HELLO, None, thinking=small.thinks)
    first, second = align_reasoning((codec("qwen3"), small), (large_codec, large))
    assert (first, second) == (small, large)
    assert second.header.rstrip().endswith("</think>")


@pytest.mark.parametrize("spec", SPECS)
def test_every_backend_takes_both(spec):
    one = spec(thinking=False, chat_template_kwargs={"reasoning_effort": "low"})
    assert one == spec(thinking=False, chat_template_kwargs={"reasoning_effort": "low"})
    assert hash(one) == hash(spec(thinking=False))
    assert one != spec(thinking=False)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"thinking": "yes"},
        {"chat_template_kwargs": "low"},
        {"chat_template_kwargs": {1: 2}},
        {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"x": object()}},
    ],
)
def test_what_is_none_is_refused_before_anything_loads(spec, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        spec(**wrong)


def test_a_request_takes_true_false_or_none():
    with pytest.raises(RequestError, match="thinking"):
        Request(messages=HELLO, thinking="on")

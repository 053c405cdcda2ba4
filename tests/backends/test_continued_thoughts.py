"""A thought is continued as it is, or its next step is asked for; never behind a second opening."""

import httpx
import pytest

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.text.thoughts import tokens_of
from tests.backends.servers import load, order, serving, write
from tests.text.templates import codec, tokenizer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

HELLO = [{"role": "user", "content": "How are you?"}]
BEGUN = "I am asked how I am, so"
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "description": "Finds.", "parameters": {"type": "object"}},
}
STEPS = "asked for by steps"
FORMS = {
    "vllm:qwen3": STEPS,
    "vllm:qwen3_6": STEPS,
    "vllm:qwen3_8": STEPS,
    "vllm:deepseek_r1_distill": "continued whole",
    "vllm:qwen3_instruct_2507": "continued whole",
    "sglang:qwen3": "continued whole",
    "sglang:qwen3_6": "continued bare",
    "sglang:qwen3_5_think": "continued bare",
    "sglang:deepseek_r1_distill": "continued bare",
    "sglang:glm4moe": "continued whole",
    "sglang:nemotron_3_nano": "continued bare",
}


@pytest.fixture(scope="module")
def url():
    with serving("template_server") as (_, address):
        yield address


@pytest.fixture(scope="module")
def spec_of(url, tmp_path_factory):
    folders = {}

    def made(model, **more):
        name = model.partition(":")[2]
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            tokenizer(name).save_pretrained(folders[name])
        known = {"tokenizer": str(folders[name]), "context_tokens": 4096}
        return OpenAIServerModel(url, model, **{**known, **more})

    return made


async def last_asked(url):
    async with httpx.AsyncClient() as client:
        return (await client.get(url.replace("/v1", "/state"))).json()[-1]


@pytest.mark.parametrize("model", FORMS)
async def test_the_model_reads_the_thought_once(model, url, spec_of):
    some = codec(model.partition(":")[2])
    loaded = load(spec_of(model))
    prompt = loaded.codec.render(HELLO, None)
    opening = "" if prompt.header.rstrip().endswith("<think>") else "<think>\n"
    written = [*tokens_of(some, opening), *some.encode(BEGUN)]
    session = loaded.open(prompt, written)
    ids, _ = await write(session, order(max_tokens=32, stop_tokens=some.end_tokens))
    session.close()
    assert some.decode(ids).strip() == "I am fine."
    assert loaded.capabilities.dialect == "continue"
    assert loaded.capabilities.thoughts == FORMS[model]
    read = (await last_asked(url))["prompt"]
    if FORMS[model] == STEPS:
        assert "----------\n" in read
        assert BEGUN in read
    else:
        assert read == some.decode([*prompt.token_ids, *written])


@pytest.mark.parametrize("model", [one for one, how in FORMS.items() if how == STEPS])
async def test_an_answer_is_continued_where_its_thought_cannot_be(model, url, spec_of):
    some, loaded = codec(model.partition(":")[2]), load(spec_of(model))
    prompt = loaded.codec.render(HELLO, None)
    opening = "" if prompt.header.rstrip().endswith("<think>") else "<think>\n"
    written = tokens_of(some, f"{opening}hm\n</think>\n\nI am")
    session = loaded.open(prompt, written)
    await write(session, order(max_tokens=32, stop_tokens=some.end_tokens))
    session.close()
    asked = await last_asked(url)
    assert asked["body"]["continue_final_message"] is True
    assert asked["prompt"].endswith("hm\n</think>\n\nI am")


@pytest.mark.parametrize(
    ("model", "how"), [("vllm:qwen3", "as tools"), ("sglang:qwen3", "in messages")]
)
async def test_tools_reach_the_model(model, how, url, spec_of):
    some, loaded = codec("qwen3"), load(spec_of(model))
    session = loaded.open(loaded.codec.render(HELLO, [TOOL]))
    await write(session, order(max_tokens=32, stop_tokens=some.end_tokens))
    session.close()
    assert loaded.capabilities.tools == how
    asked = await last_asked(url)
    assert "look_up" in asked["prompt"]
    assert "<tool_call>" in asked["prompt"]
    assert ("tools" in asked["body"]) == (how == "as tools")
    assert how in loaded.capabilities.in_words


async def test_a_borrowed_tokenizer_sends_no_ids_and_finds_the_form_all_the_same(url, spec_of):
    loaded = load(spec_of("sglang:qwen3_6", own_tokenizer=False))
    some = codec("qwen3_6")
    prompt = loaded.codec.render(HELLO, None)
    session = loaded.open(prompt, some.encode(BEGUN))
    forbidden = order(max_tokens=32, stop_tokens=some.end_tokens, forbidden=(5,))
    await write(session, forbidden)
    session.close()
    asked = await last_asked(url)
    assert asked["prompt"] == some.decode([*prompt.token_ids, *some.encode(BEGUN)])
    assert "logit_bias" not in asked["body"]


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("model", ["vllm:qwen3", "sglang:qwen3_6", "sglang:deepseek_v3_1"])
async def test_a_whole_reply_thinks_or_does_not(model, thinking, url, spec_of):
    some = codec(model.partition(":")[2])
    loaded = load(spec_of(model, dialect="plain", thinking=thinking))
    session = loaded.open(loaded.codec.render(HELLO, None))
    await write(session, order(max_tokens=32, stop_tokens=some.end_tokens))
    session.close()
    prompt = (await last_asked(url))["prompt"]
    assert prompt == some.decode(some.render(HELLO, None, thinking=thinking).token_ids)
    assert ("</think>" in prompt) is not thinking

"""The JSON schema of an answer is shown to the models, unless they or the request want none."""

from copy import deepcopy

import pytest

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import SplitEngine
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.errors import RequestError
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.text.reply_formats import FORMATS

SCHEMA = {"type": "object", "properties": {"größe": {"type": "integer"}}, "required": ["größe"]}
ASKED = [{"role": "user", "content": "How large?"}, {"role": "assistant", "content": "Ask."}]
LINE = (
    'Answer with JSON that fits this schema: {"type": "object", "properties": '
    '{"größe": {"type": "integer"}}, "required": ["größe"]}'
)


def scripted(embedded, own=None):
    """A model that keeps what it reads; `own` is the schema prompt of its tokenizer."""
    tokenizer = deepcopy(embedded[0].codec._tokenizer)
    del tokenizer.init_kwargs["schema_prompt"]
    if own is not None:
        tokenizer.init_kwargs["schema_prompt"] = own
    seen = []

    def reply(messages, tools):
        seen.append([message["content"] for message in messages])
        return 'x</think>\n\n{"größe": 1}'

    return ScriptedModel(reply, codec=TokenizerCodec(tokenizer, name="own")), seen


async def read(model, seen, **more):
    engine = SplitEngine(small=model, large=model)
    messages = [ASKED[0], ASKED[1], {"role": "user", "content": "Now."}]
    await engine.complete(Request(messages=messages, response_schema=SCHEMA, **more))
    return seen[0]


async def test_it_is_a_line_at_the_end_of_the_users_message(embedded):
    assert await read(*scripted(embedded)) == ["How large?", "Ask.", f"Now.\n\n{LINE}"]


async def test_it_can_be_switched_off(embedded):
    expected = ["How large?", "Ask.", "Now."]
    assert await read(*scripted(embedded), show_schema=False) == expected
    assert await read(*scripted(embedded, own="")) == expected


async def test_a_tokenizer_may_have_words_of_its_own(embedded):
    found = await read(*scripted(embedded, own="Schema: {schema}!"))
    assert found[-1].startswith('Now.\n\nSchema: {"type"')
    assert found[-1].endswith("}!")


def test_the_bundled_models_are_shown_none(embedded):
    for model in embedded:
        assert model.codec.reply_format.ask_for(SCHEMA) is None


def test_each_family_has_its_form():
    shown = {name: one.ask_for(SCHEMA) for name, one in FORMATS.items()}
    assert all('"größe"' in text for text in shown.values())
    assert shown["gpt-oss"].startswith("# Response Formats\n\n## answer\n\n{")
    assert all(one.ask_for(None) is None for one in FORMATS.values())


def test_the_chat_models_have_the_option(embedded):
    for chat in (SplitReasonLLM, LlamaIndexLLM):
        for shows in (True, False):
            request = chat(show_schema=shows).request([ASKED[0]], response_schema=SCHEMA)
            assert request.show_schema is shows
    with pytest.raises(RequestError, match="show_schema must be true or false"):
        Request(messages=[ASKED[0]], show_schema="no")


def test_a_request_of_an_earlier_version_shows_none():
    data = Request(messages=[ASKED[0]], response_schema=SCHEMA).data()
    assert Request.of(data).show_schema
    del data["show_schema"]
    assert not Request.of(data).show_schema

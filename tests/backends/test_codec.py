"""The codec over any tokenizer: control tokens stay out, odd templates are read right."""

import logging
from copy import deepcopy

import pytest
from tokenizers import AddedToken

from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.errors import RequestError

ASK = [{"role": "user", "content": "say <think> hi"}]
TAGS = "<bigmodel> </bigmodel><think></think><|im_end|>"


def controls(codec, messages, tools=None):
    return [i for i in codec.render(messages, tools).token_ids if codec.is_control(i)]


def call(arguments):
    function = {"name": "f", "arguments": arguments}
    return [*ASK, {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}]


def tool(properties):
    parameters = {"type": "object", "properties": properties}
    return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]


def test_keys_never_become_control_tokens(embedded):
    codec = embedded[0].codec
    plain = controls(codec, call({"z": [{"z": 1}]}), tool({"z": {"z": [{"z": 1}]}}))
    hostile = tool({TAGS: {"z": [{TAGS: 1}]}})
    assert controls(codec, call({TAGS: [{TAGS: 1}]}), hostile) == plain


def test_no_warning_of_another_library_comes_before_the_error_of_a_long_prompt(embedded):
    tokenizer = deepcopy(embedded[0].codec._tokenizer)
    tokenizer.deprecation_warnings, tokenizer.model_max_length = {}, 8
    said = []
    handler = logging.Handler()
    handler.emit = said.append
    logging.getLogger("transformers").addHandler(handler)
    try:
        prompt = TokenizerCodec(tokenizer, name="short").render(
            [{**ASK[0], "content": "a " * 50}], None
        )
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert len(prompt.token_ids) > 50
    assert [record.getMessage() for record in said] == []


def test_a_control_token_of_one_character_is_no_endless_loop(embedded):
    tokenizer = deepcopy(embedded[0].codec._tokenizer)
    tokenizer.add_tokens([AddedToken("~")])
    codec = TokenizerCodec(tokenizer, name="tilde")
    assert codec.decode(codec.encode("a ~ <think>")) == "a ~ <think>"
    assert codec.control_token("<think>") not in codec.encode("a ~ <think>")


def test_the_header_of_a_template_that_else_ends_the_text(embedded):
    tokenizer = deepcopy(embedded[0].codec._tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"
    )
    codec = TokenizerCodec(tokenizer, name="ended")
    assert codec.render(ASK, None).header == "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "\ud800"}],
        [{"role": "assistant", "content": "x", "tool_calls": [{}]}],
        [{"role": "assistant", "content": "x", "reasoning_content": 5}],
    ],
)
def test_what_a_template_cannot_take_is_the_requests_fault(embedded, messages):
    with pytest.raises(RequestError, match="refuses these messages"):
        embedded[0].codec.render(messages, None)

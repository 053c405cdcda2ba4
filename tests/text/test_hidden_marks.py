"""A call or a thought whose control tokens a server left out is no answer."""

import re

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.protocols import CONTROL
from splitreason_integrations.text.hidden_marks import ended_in_reasoning, unmarked
from splitreason_integrations.text.reply_formats import FORMATS

TOOL = {
    "type": "function",
    "function": {"name": "multiply", "parameters": {"type": "object", "properties": {}}},
}
CALL = '[TOOL_CALLS]multiply[ARGS]{"a": 47, "b": 23}'
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
HIDDEN = ["gpt-oss", "deepseek", "deepseek-v3.1", "mistral", "mistral-lists", "hermes"]
"""Families whose calls are JSON behind control tokens."""


def marked(family):
    """Return a codec in which the marks of a family are control tokens."""
    form = FORMATS[family]
    text = f"{form.call}{form.begin_of_reasoning}{form.end_of_reasoning}"
    marks = [one for one in CONTROL.split(text)[1::2] if "=" not in one]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: at for at, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<end>", *dict.fromkeys([*form.signs, *marks])])
    template = f"{TEMPLATE}{{# {form.signs} {form.call} #}}"
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<end>", chat_template=template
    )
    return TokenizerCodec(tokens, name=family)


def hidden(codec, text):
    """Return a text as a server sends it that shows no control token."""
    return "".join(one for one in CONTROL.split(text) if codec.control_token(one) is None)


@pytest.mark.parametrize("family", HIDDEN)
def test_a_call_whose_marks_are_hidden_is_no_answer(family):
    codec = marked(family)
    written = FORMATS[family].write_call("multiply", '{"a": 47}')
    said = hidden(codec, written)
    assert said != written
    assert re.search(
        r"a call of 'multiply' as text; if its server hides", unmarked(codec, said, [TOOL])
    )
    assert unmarked(codec, f"\n {said}", [TOOL])
    assert unmarked(codec, said, None) is None
    assert unmarked(codec, said.replace("multiply", "divide"), [TOOL]) is None


def test_a_thought_whose_marks_are_hidden_is_no_answer():
    codec = marked("gpt-oss")
    said = "analysisWe need to multiply.assistantfinalIt is 1081."
    assert "a thought as its answer" in unmarked(codec, said, None)
    assert unmarked(codec, "It is 1081.", None) is None


@pytest.mark.parametrize("family", FORMATS)
def test_answers_are_answers(family):
    codec = marked(family)
    for said in ("", "multiply", "It is 1081.", "multiply both: {47, 23}", '{"number": 7}', "[1]"):
        assert unmarked(codec, said, [TOOL]) is None


def test_the_remedy_names_the_mark():
    assert "such as </think>, use one that shows them" in ended_in_reasoning(marked("hermes"))

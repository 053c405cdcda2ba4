"""A schema goes through whole: the grammar lets each fitting value through, and no other."""

import json
import random

import pytest

from splitreason_integrations.errors import RequestError
from splitreason_integrations.protocols import CONTROL
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import FORMATS
from splitreason_integrations.text.tags import Tags
from tests.text.schemas import record
from tests.text.test_family_grammars import codec_of
from tests.text.whole_schemas import CHECKED, DIGIT, WHOLE, fits

CODEC = embedded_codec()


def guide(schema):
    try:
        return Guide(CODEC, answer_grammar(schema, CODEC), Tags(), reasons=False)
    except RequestError as error:
        pytest.fail(f"the schema is refused: {error}")


def lets_through(grammar, text):
    """Whether the grammar takes the whole text, and ends behind it."""
    ids = CODEC.encode(text)
    took = grammar.accepted([], ids)
    return took == len(ids) and bool({*grammar.allowed(ids)} & {*CODEC.end_tokens})


def walk(grammar, seed, *, codec=CODEC, most=200):
    """Return a text of random tokens that the grammar allows; None where it does not end."""
    draw, ids = random.Random(seed), []
    while len(ids) < most:
        allowed = grammar.allowed(ids)
        assert allowed, f"nothing may follow {codec.decode(ids)!r}"
        token = draw.choice(allowed)
        ends = {*allowed} & {*codec.end_tokens}
        if ends and (token in ends or draw.random() < 0.5):
            return codec.decode(ids)
        ids.append(token)
    return None


@pytest.mark.parametrize("name", WHOLE)
def test_a_fitting_value_may_be_written(name):
    schema, value = WHOLE[name]
    assert fits(value, schema)
    assert lets_through(guide(schema), "\n\n" + json.dumps(value))


@pytest.mark.parametrize("name", WHOLE)
def test_whatever_is_written_fits(name):
    schema, _ = WHOLE[name]
    ended = [text for seed in range(6) if (text := walk(guide(schema), seed)) is not None]
    assert ended
    for text in ended:
        assert fits(json.loads(text), schema), text


@pytest.mark.parametrize("name", CHECKED)
def test_what_no_grammar_holds_is_let_through(name):
    schema, fitting, _ = CHECKED[name]
    assert lets_through(guide(schema), "\n\n" + json.dumps(fitting))


def test_a_free_property_is_never_written():
    for schema in (
        record(a=DIGIT),
        {"allOf": [record(a=DIGIT), {"required": ["a"]}]},
        {"anyOf": [record(a=DIGIT), {"type": "null"}]},
        {**record(a=DIGIT), "anyOf": [{"required": ["a"]}]},
        {"$ref": "#/$defs/p", "description": "A point.", "$defs": {"p": record(a=DIGIT)}},
    ):
        assert lets_through(guide(schema), '\n\n{"a": 1}')
        assert not lets_through(guide(schema), '\n\n{"a": 1, "b": 1}')


CALLS = {
    "reference at the top": WHOLE["reference at the top"],
    "allOf of references": WHOLE["allOf of references"],
    "anyOf": ({"anyOf": [record(a=DIGIT), record(b=DIGIT)]}, {"b": 3}),
    "recursion": WHOLE["recursion"],
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_a_call_go_through_whole(name):
    schema, arguments = CALLS[name]
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    grammar = Guide(CODEC, call_grammar([tool], CODEC), Tags(), reasons=False)
    written = CODEC.reply_format.write_call("f", json.dumps(arguments))
    ids = []
    for part in CONTROL.split(written):
        token = CODEC.control_token(part)
        ids += CODEC.encode(part) if token is None else [token]
    assert grammar.accepted([], ids) == len(ids)


MARKUP = [name for name, family in FORMATS.items() if family.argument]


@pytest.mark.parametrize("name", ["allOf of references", "two unions", "recursion"])
@pytest.mark.parametrize("family", MARKUP)
def test_arguments_in_markup_go_through_whole(family, name):
    codec, (schema, _) = codec_of(FORMATS[family]), WHOLE[name]
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    grammar = call_grammar([tool], codec)
    for seed in range(4):
        text = walk(Guide(codec, grammar, Tags(), reasons=False), seed, codec=codec, most=400)
        reader = ReplyReader(codec.response_template, "", (), [tool])
        reader.feed(text)
        reader.finish()
        (call,) = reader.tool_calls
        assert not call.error, call
        assert fits(call.arguments, schema)

"""Answers of servers in the one way of writing that a grammar knows."""

import json
import random

import pytest

from splitreason_integrations.protocols import AnswerForm
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.text.reply_formats import FORMATS
from splitreason_integrations.text.tags import Tags
from splitreason_integrations.text.typed_answers import (
    in_order,
    leading,
    token_ids,
    written_answer,
    written_call,
)
from tests.text.schemas import POINT, SCHEMAS, record
from tests.text.test_grammar import TOOLS

CODEC = embedded_codec()
END = CODEC.control_token("</think>")
NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["name", "next"],
}
TREE = {"$ref": "#/$defs/node", "$defs": {"node": NODE}}
ENDLESS = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}


def text_of(parts):
    return "".join(text for text, _ in parts)


def shuffled(value, rng):
    if isinstance(value, list):
        return [shuffled(one, rng) for one in value]
    if not isinstance(value, dict):
        return value
    keys = rng.sample(list(value), len(value))
    return {key: shuffled(value[key], rng) for key in keys}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (record(b=POINT, a={"type": "array", "items": POINT}), {"b": 1, "a": 2}),
        (TREE, {"name": "a", "next": {"name": "b", "next": None}}),
        (
            {"allOf": [record(z={"type": "string"}), record(a={"type": "string"})]},
            {"z": "1", "a": "2"},
        ),
        (
            {"anyOf": [record(q={"type": "null"}), record(z=POINT, a={"type": "integer"})]},
            {"z": {"x": 1, "y": 2}, "a": 3},
        ),
    ],
    ids=["nested", "recursive", "all of", "any of"],
)
def test_keys_are_in_the_order_of_the_schema(schema, value, seed):
    if schema.get("properties", {}).get("b") is POINT:
        point = dict.fromkeys(POINT["properties"], 1)
        value = {"b": point, "a": [point, point]}
    mixed = shuffled(value, random.Random(seed))
    written = text_of(written_answer(json.dumps(mixed, indent=3), schema))
    assert written == json.dumps(value)


def test_what_the_schema_does_not_know_comes_last_and_stays():
    assert list(in_order({"z": 1, "b": 2, "a": 3}, record(a={}, b={}), {})) == ["a", "b", "z"]


@pytest.mark.parametrize("text", ["", "no", "{", '{"a": NaN}', "{} {}", "[" * 9000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON|Extra data|Expecting|deep"):
        written_answer(text, {"type": "object"})


def test_a_schema_that_refers_to_itself_without_end_is_survived():
    with pytest.raises(ValueError, match="nested too deeply"):
        written_answer('{"a": 1}', ENDLESS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_a_grammar_lets_come_is_written_as_it_is(name):
    """An answer that was held to the grammar here is the same after the way through a server."""
    schema = SCHEMAS[name]
    guide = Guide(CODEC, answer_grammar(schema, CODEC), Tags(), reasons=True)
    reply, rng = [END], random.Random(name)
    while len(reply) < 200:
        allowed = [t for t in guide.allowed(reply) if t not in CODEC.end_tokens]
        if not allowed or (len(reply) > 40 and CODEC.end_tokens & set(guide.allowed(reply))):
            break
        reply.append(rng.choice(allowed[:60]))
    said = CODEC.decode(reply[1:])
    try:
        value = json.loads(said)
    except ValueError:
        pytest.skip("the walk did not end")
    parts = written_answer(json.dumps(shuffled(value, rng), indent=1), schema)
    ids = [*token_ids(CODEC, parts), *CODEC.end_tokens]
    assert guide.accepted([END], ids) == len(ids)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["function"]["name"])
def test_a_call_is_written_as_the_family_writes_it(tool):
    function = tool["function"]
    arguments = {"y": 2, "x": 1} if function["name"] == "move" else {}
    parts = written_call(function["name"], json.dumps(arguments), TOOLS, CODEC.reply_format)
    ids = [*token_ids(CODEC, parts), *CODEC.end_tokens]
    guide = Guide(CODEC, call_grammar(TOOLS, CODEC), Tags(), reasons=True)
    assert guide.accepted([END], ids) == len(ids)


@pytest.mark.parametrize("arguments", ["[1]", "1", '"x"', "null", "x"])
def test_arguments_that_are_no_object_are_refused(arguments):
    for form in FORMATS.values():
        with pytest.raises(ValueError, match=r"no JSON object|Expecting"):
            written_call("move", arguments, TOOLS, form)


def test_no_text_of_a_server_becomes_a_control_token():
    parts = written_answer('{"a": "</think><|im_end|>"}', record(a={"type": "string"}))
    assert not any(map(CODEC.is_control, token_ids(CODEC, parts)))


@pytest.mark.parametrize("family", FORMATS)
def test_what_goes_before_an_answer(family):
    form = FORMATS[family]
    answer, call = AnswerForm({"type": "object"}), AnswerForm(None, tuple(TOOLS))
    assert text_of(leading(form, answer, None)).startswith(form.end_of_reasoning)
    assert text_of(leading(form, answer, None)).endswith(form.answer_start)
    assert text_of(leading(form, answer, "")) == form.answer_start
    assert text_of(leading(form, answer, "\n\n")) == ""
    assert form.answer_start == "" or form.answer_start not in text_of(leading(form, call, None))

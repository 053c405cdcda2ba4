"""Grammars for llama.cpp: all that an answer's own grammar lets come, and little more."""

import json
import random

import pytest

from splitreason_integrations.backends.openai_server.gbnf import gbnf_of
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.text.reply_formats import FORMATS
from splitreason_integrations.text.tags import Tags, tags_of
from splitreason_integrations.text.thoughts import tokens_of
from tests.backends.gbnf_reader import Grammar
from tests.text.schemas import DIGIT, FLAG, POINT, SCHEMAS, TEXT, record, several
from tests.text.test_family_grammars import RICH, codec_of
from tests.text.test_grammar import TOOLS

CODEC = embedded_codec()
TAGS = tags_of(CODEC, as_text=False)
WALKS = 4
MOST_TOKENS = 60

LOOSE = {
    "anything": {},
    "any object": {"type": "object"},
    "any list": {"type": "array"},
    "map": {"type": "object", "additionalProperties": DIGIT},
    "map of maps": {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": TEXT},
    },
    "named and others": {**record(a=FLAG), "additionalProperties": DIGIT},
    "required and unnamed": {**record(["z"], a=FLAG), "additionalProperties": DIGIT},
    "first items": {"type": "array", "prefixItems": [FLAG, DIGIT], "items": False},
    "fractions": record(a={"enum": [1.5, 2.0, 1e30, -0.0]}),
    "number that is whole": record(a={"type": "number", "const": 3}),
    "multiple": record(a={"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100}),
    "no least": record(a={"type": "integer", "maximum": 7}),
    "bounds with fractions": record(a={"type": "integer", "minimum": 0.5, "maximum": 99.5}),
    "bounds around 0": record(a={"type": "integer", "minimum": -5, "maximum": 0}),
    "large bounds": record(a={"type": "integer", "minimum": 0, "maximum": 10**25}),
    "constant object": record(a={"const": {"x": [1, "a", None]}}),
    "constant lists": record(a={"enum": [[1, 2], {"b": 1}]}),
    "one of": {"oneOf": [record(a=DIGIT), record(b=FLAG)]},
    "any of and more": {**record(["a"], a=DIGIT), "anyOf": [{"required": ["a"]}, record(b=FLAG)]},
    "all of one": {"allOf": [record(a=DIGIT)]},
    "described reference": {
        **record(a={"$ref": "#/$defs/p", "description": "A point."}),
        "$defs": {"p": POINT},
    },
    "bounded reference": {
        **record(a={"$ref": "#/$defs/p", "minimum": 3, "maximum": 9}),
        "$defs": {"p": {"type": "integer"}},
    },
    "reference with signs": {**record(a={"$ref": "#/$defs/a~1b~0c"}), "$defs": {"a/b~c": DIGIT}},
    "names with signs": record(**{'a"b\\c/': TEXT}),
    "names with control characters": record(**{"a\nb": TEXT, "c\x7f": FLAG}),
    "long text": record(s={"type": "string", "maxLength": 5000}),
    "kinds": record(
        v={
            "type": ["string", "integer", "array", "object"],
            "maxLength": 3,
            "minimum": 1,
            "maximum": 3,
            "items": FLAG,
            "maxItems": 2,
        }
    ),
    "empty object": {"type": "object", "properties": {}},
    "empty list": {"type": "array", "maxItems": 0},
    "at least two": several(FLAG, 2, 5),
    "list of itself": {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "maxItems": 2}},
    },
    "the whole again": record(kids=several({"$ref": "#"})),
    "or itself": {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, DIGIT]}}},
}
"""Schemas of which a part is left out, or whose texts take care."""


def walk(guide, codec, rng):
    """Return a text that a form lets come, and whether it is whole."""
    family, reply = codec.reply_format, []
    begun = tokens_of(codec, family.end_of_reasoning) if family.always_reasons else []
    while len(reply) < MOST_TOKENS:
        some = guide.allowed([*begun, *reply])
        ends = [one for one in some if one in codec.end_tokens]
        some = [one for one in some if one not in codec.end_tokens]
        if not some or (ends and rng.random() < 0.5):
            return codec.decode(reply), True
        reply.append(rng.choice(some))
    return codec.decode(reply), False


def check(codec, grammar, tags=Tags()):  # noqa: B008 - a value
    """Check that all that a form lets come fits its grammar for llama.cpp."""
    rng = random.Random(grammar)
    made = Grammar(gbnf_of(grammar, lambda token: codec.decode([token]), tags.control_tokens))
    for _ in range(WALKS):
        text, is_whole = walk(Guide(codec, grammar, tags, reasons=False), codec, rng)
        assert made.after(text.partition("\ufffd")[0]), text
        if is_whole and "\ufffd" not in text:
            assert made.is_whole(text), text


@pytest.mark.parametrize("tags", [Tags(), TAGS], ids=["no tags", "tags"])
@pytest.mark.parametrize("schema", [*SCHEMAS.values(), *LOOSE.values()], ids=[*SCHEMAS, *LOOSE])
def test_all_that_a_schema_lets_come_may_come(schema, tags):
    check(CODEC, answer_grammar(schema, CODEC), tags)


@pytest.mark.parametrize("family", FORMATS.values(), ids=FORMATS)
def test_so_may_all_calls_of_a_family(family):
    codec = codec_of(family)
    check(codec, call_grammar([*TOOLS, RICH], codec))
    check(codec, answer_grammar(POINT, codec, TOOLS))


NARROW = [
    ("integer", ['{"n": 7}', '  {"n": 0}'], ['{"n":7}', '{"n": 77}', '{"m": 7}', '{"n": "7"}']),
    ("boolean", ['{"on": true}'], ['{"on": True}', '{"on": true} ', '{"on": true, "x": 1}']),
    ("optional", ['{"a": 1}', '{"a": 1, "c": "x"}'], ['{"b": true}', '{"a": 1, "c": "x", "b": 1}']),
    ("all optional", ["{}", '{"b": false}'], ["{,}", '{, "b": false}', '{"b": false, "a": 1}']),
    ("enum of texts", ['{"size": "small"}'], ['{"size": "tiny"}', '{"size": small}']),
    ("list at the top", ["[1]", "[1, 2, 3, 4]"], ["[]", "[1,2]", "[1, 2, 3, 4, 5]", "[1, ]"]),
    (
        "short text",
        ['{"s": "é\\n日本\\u00e9"}'],
        ['{"s": "a\nb"}', '{"s": "123456789"}', '{"s": "\\x"}'],
    ),
    ("nullable", ['{"v": null}', '{"v": {"x": 1, "y": 2}}'], ['{"v": {}}', '{"v": nul}']),
    ("number", ['{"n": 0.25}', '{"n": 1e-3}'], ['{"n": .5}', '{"n": 01}', '{"n": 1.}']),
]


@pytest.mark.parametrize(("name", "fit", "others"), NARROW, ids=[one[0] for one in NARROW])
def test_little_else_may_come(name, fit, others):
    made = Grammar(gbnf_of(answer_grammar(SCHEMAS[name], CODEC), lambda token: ""))
    assert [made.is_whole(text) for text in fit] == [True] * len(fit)
    assert [made.is_whole(text) for text in others] == [False] * len(others)


def test_tags_may_come_before_every_character_and_nothing_else_between_them():
    grammar = answer_grammar(SCHEMAS["integer"], CODEC)
    spell = {1: "<open>", 2: "</close>"}.get
    made, tagged = Grammar(gbnf_of(grammar, spell)), Grammar(gbnf_of(grammar, spell, (1, 2)))
    text = '{"n": 7}'
    for at in range(len(text)):
        for tag in ("<open>", "</close>"):
            assert tagged.is_whole(text[:at] + tag + text[at:])
            assert not made.is_whole(text[:at] + tag + text[at:])
        assert not tagged.after(text[:at] + "<x>")


def test_a_grammar_of_another_kind_or_a_very_long_one_has_no_counterpart():
    def gbnf(grammar):
        return gbnf_of(grammar, lambda token: "")

    assert gbnf('start: "a" value\nvalue: %json {"type": "null"}\n')
    assert gbnf("start: /[a-z]+/ x\n") is not None, "free text"
    assert gbnf("start: <x>\n") is None
    assert gbnf("%import common.INT\n") is None
    names = {f"name {at}" * 20: {"type": "null"} for at in range(500)}
    assert gbnf(f"start: %json {json.dumps(record(**names))}\n") is None

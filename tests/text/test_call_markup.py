"""Calls in markup: values get the type of the tool's schema, and any split reads the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations.records import Channel
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import FORMATS
from tests.text.test_tool_call_stream import VALUES, cut, read

MARKUP = [name for name, family in FORMATS.items() if family.argument]
SECTIONS = ("deepseek", "deepseek-v3.1", "gpt-oss")
"""Families that write all calls of a reply in one section."""
INTEGER = {"type": "integer"}
KINDS = {
    "text": ({"type": "string"}, st.text()),
    "count": (INTEGER, st.integers()),
    "share": ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
    "on": ({"type": "boolean"}, st.booleans()),
    "maybe": ({"anyOf": [INTEGER, {"type": "null"}]}, st.none() | st.integers()),
    "list": ({"type": "array"}, st.lists(VALUES, max_size=3)),
    "record": ({"type": "object"}, st.dictionaries(st.text(), VALUES, max_size=3)),
    "size": ({"enum": ["1", "small"]}, st.sampled_from(["1", "small"])),
}
ARGUMENTS = st.fixed_dictionaries({}, optional={key: values for key, (_, values) in KINDS.items()})


def tool(properties, **more):
    schema = {"type": "object", "properties": properties, **more}
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


TOOL = tool({key: schema for key, (schema, _) in KINDS.items()})


@pytest.mark.parametrize("family", FORMATS)
@given(calls=st.lists(ARGUMENTS, min_size=1, max_size=2), seed=st.integers(0, 10))
def test_what_a_family_writes_is_read_back_in_any_split(family, calls, seed):
    form = FORMATS[family]
    calls = calls[:1] if family in SECTIONS else calls
    written = [form.write_call("f", json.dumps(one, ensure_ascii=False)) for one in calls]
    text = "\n".join(written)
    found = []
    for pieces in ([text], cut(text, seed)):
        reader, growing, _ = read(form.response_template, pieces, [TOOL])
        assert not any(broken for *_, broken in growing)
        assert [(name, json.loads(shown)) for name, shown, _ in growing] == [
            ("f", one) for one in calls
        ]
        found.append([json.dumps(call.arguments) for call in reader.tool_calls])
    # Dumped, because 1 == 1.0 == True.
    assert found == [[json.dumps(one) for one in calls]] * 2


@pytest.mark.parametrize("family", MARKUP)
@given(data=st.data(), arguments=ARGUMENTS.filter(len))
def test_a_reply_that_ends_inside_a_call_makes_none(family, data, arguments):
    form = FORMATS[family]
    text = form.write_call("f", json.dumps(arguments, ensure_ascii=False))
    whole = text.rindex("</function>") if "</function>" in text else text.rindex("</")
    whole = text.rindex("</invoke>") if "</invoke>" in text else whole
    whole = text.rindex("</｜DSML｜invoke>") if "</｜DSML｜invoke>" in text else whole
    opened = text.index(">") + 1
    reader = ReplyReader(form.response_template, "", tools=[TOOL])
    reader.feed(text[: data.draw(st.integers(opened, whole))])
    reader.finish()
    (call,) = reader.tool_calls
    assert call.arguments is None
    assert call.error
    assert reader.text(Channel.ANSWER) == ""


READINGS = [
    ({"type": "string"}, "5", "5"),
    ({"type": "string"}, "true", "true"),
    ({"type": "string"}, "null", "null"),
    ({"type": "string"}, '"quoted"', '"quoted"'),
    ({"type": "string"}, "[1]", "[1]"),
    ({"type": "string"}, "", ""),
    ({"type": "string"}, " a\n", " a\n"),
    (INTEGER, "5", 5),
    (INTEGER, " 5 ", 5),
    (INTEGER, "5.0", 5.0),
    ({"type": "number"}, "1e3", 1000.0),
    ({"type": "boolean"}, "true", True),
    ({"type": "boolean"}, "True", True),
    ({"type": "null"}, "None", None),
    ({"type": ["string", "integer"]}, "5", 5),
    ({"type": ["string", "integer"]}, "five", "five"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", None),
    ({"type": "array", "items": INTEGER}, "[1, 2]", [1, 2]),
    ({"type": "object"}, '{"a": "b"}', {"a": "b"}),
    ({"$ref": "#/$defs/n"}, "5", 5),
    ({"$ref": "#/$defs/t"}, "5", "5"),
    ({"enum": ["5", "6"]}, "5", "5"),
    ({"enum": [5, "six"]}, "5", 5),
    ({"const": "5"}, "5", "5"),
    ({}, "5", 5),
    ({}, "five", "five"),
]
MISREADINGS = [
    (INTEGER, "five", "'five' is not of type 'integer'"),
    (INTEGER, "5.5", "5.5 is not of type 'integer'"),
    ({"type": "integer", "minimum": 6}, "5", "5 is less than the minimum of 6"),
    ({"type": "boolean"}, "1", "1 is not of type 'boolean'"),
    ({"type": "number"}, "NaN", "'NaN' is not of type 'number'"),
    ({"type": "object"}, '{"a": }', "is not of type 'object'"),
    ({"type": "array"}, "[" * 100_000, "is not of type 'array'"),
    ({"type": "string", "maxLength": 3}, "12345", "'12345' is too long"),
]


def call_of(family, schema, text, key="x", **more):
    """The call whose one argument is written as this text."""
    form = FORMATS[family]
    defs = {"n": INTEGER, "t": {"type": "string"}}
    offered = tool({"x": schema}, **{"$defs": defs}, **more)
    reader = ReplyReader(form.response_template, "", tools=[offered])
    reader.feed(form.write_call("f", json.dumps({key: text})))
    reader.finish()
    (call,) = reader.tool_calls
    return call


SCHEMA_DECIDES = [family for family in MARKUP if "{string}" not in FORMATS[family].argument]


@pytest.mark.parametrize("family", SCHEMA_DECIDES)
@pytest.mark.parametrize(("schema", "text", "value"), READINGS)
def test_the_schema_gives_the_type(family, schema, text, value):
    call = call_of(family, schema, text)
    assert json.dumps(call.arguments) == json.dumps({"x": value})


@pytest.mark.parametrize("family", SCHEMA_DECIDES)
@pytest.mark.parametrize(("schema", "text", "reason"), MISREADINGS)
def test_what_does_not_fit_the_type_is_an_invalid_call(family, schema, text, reason):
    call = call_of(family, schema, text)
    assert call.arguments is None
    assert reason in call.error


@pytest.mark.parametrize("family", SCHEMA_DECIDES)
def test_the_type_of_a_further_argument(family):
    assert call_of(family, INTEGER, "5", "y").arguments == {"y": "5"}
    assert call_of(family, INTEGER, "5", "y", additionalProperties=INTEGER).arguments == {"y": 5}
    closed = call_of(family, INTEGER, "5", "y", additionalProperties=False)
    assert "Additional properties" in closed.error


def test_where_the_family_says_what_is_text():
    form = FORMATS["deepseek-v3.2"]
    reader = ReplyReader(form.response_template, "", tools=[tool({"x": {}, "y": {}})])
    reader.feed(form.write_call("f", '{"x": "5", "y": 5}'))
    reader.finish()
    assert reader.tool_calls[0].arguments == {"x": "5", "y": 5}


def test_a_tokenizers_own_tags_have_to_be_whole():
    calls = {
        "open_pattern": r"<function=(?P<name>\w+)>",
        "close": "</function>",
        "repeats": True,
        "content": "xml-inline",
        "content_args": {"tag_pattern": r"<p=(?P<key>\w+)>(?P<value>.*?)</p>"},
        "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
    }
    template = {"start_anchor_pattern": r"\A", "fields": {"tool_calls": calls, "content": {}}}
    offered = tool({"x": INTEGER, "y": INTEGER})
    for text, expected in {
        "<function=f><p=x>3</p></function>Yes.": {"x": 3},
        "<function=f></function>": {},
        "<function=f><p=x>3</p>": None,
        "<function=f><p=x>3</p><p=y>": None,
        "<function=f>x is 3</function>": None,
    }.items():
        for pieces in ([text], list(text)):
            reader, *_ = read(template, pieces, [offered])
            (call,) = reader.tool_calls
            assert (call.name, call.arguments) == ("f", expected)

"""A call is made only if its tool exists and its arguments fit the tool's own schema."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations.errors import RequestError
from splitreason_integrations.records import ToolCall
from splitreason_integrations.request import Request
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import TAGGED
from splitreason_integrations.text.tool_checks import CallChecks, check_tools
from tests.text.schemas import SCHEMAS

USER = {"role": "user", "content": "x"}


def tool(schema, name="f"):
    function = {"name": name} if schema is None else {"name": name, "parameters": schema}
    return {"type": "function", "function": function}


def record(**properties):
    return {"type": "object", "properties": properties}


def error_of(schema, arguments, name="f"):
    """The reason for which a call cannot be made; empty where it can."""
    return CallChecks([tool(schema)]).checked(ToolCall("call_0", name, arguments, "")).error


INTEGER = {"type": "integer"}
POINT = record(x=INTEGER, y=INTEGER) | {"required": ["x"]}
IN_DEFS = {
    **record(at={"$ref": "#/$defs/point"}, more={"type": "array", "items": {"$ref": "#/$defs/p"}}),
    "$defs": {"point": POINT, "p": {"$ref": "#/$defs/point"}},
}
CLOSED = record(x=INTEGER) | {"additionalProperties": False}
DEFAULT = record(x=INTEGER | {"default": 3})
OPTIONAL = record(x={"anyOf": [INTEGER, {"type": "null"}]})
BY_ID = record(a={"$ref": "other"}) | {
    "$id": "https://example.org/tool",
    "$defs": {"o": {"$id": "other", "type": "boolean"}},
}
FITS = [
    (None, {}),
    (None, {"anything": 1}),
    ({}, {"x": 1}),
    (POINT, {"x": 1}),
    (POINT, {"x": 1.0, "y": -0.0}),
    (POINT, {"x": 1, "z": "more"}),
    (IN_DEFS, {"at": {"x": 1}, "more": [{"x": 2}, {"x": 3, "y": 4}]}),
    (CLOSED, {"x": 1}),
    (DEFAULT, {}),
    (OPTIONAL, {"x": None}),
    (BY_ID, {"a": True}),
    (record(x={"type": "string", "pattern": r"^\p{L}+$"}), {"x": "1"}),
    (record(x={"const": "$ref"}, y={"default": {"$ref": "http://example.org"}}), {"x": "$ref"}),
]
MISFITS = [
    (POINT, {}, "'x' is a required property"),
    (POINT, {"x": "1"}, "x: '1' is not of type 'integer'"),
    (POINT, {"x": 1.5}, "x: 1.5 is not of type 'integer'"),
    (POINT, {"x": True}, "x: True is not of type 'integer'"),
    (POINT, {"x": None}, "x: None is not of type 'integer'"),
    (IN_DEFS, {"at": {}}, "at: 'x' is a required property"),
    (IN_DEFS, {"more": [{"x": 1}, {"x": "2"}]}, "more.1.x: '2' is not of type 'integer'"),
    (CLOSED, {"y": 1}, "Additional properties are not allowed"),
    (OPTIONAL, {"x": "none"}, "x: 'none' is not"),
    (BY_ID, {"a": 1}, "a: 1 is not of type 'boolean'"),
]


@pytest.mark.parametrize(("schema", "arguments"), FITS)
def test_calls_that_fit(schema, arguments):
    assert error_of(schema, arguments) == ""


@pytest.mark.parametrize(("schema", "arguments", "reason"), MISFITS)
def test_calls_that_do_not_fit(schema, arguments, reason):
    call = CallChecks([tool(schema)]).checked(ToolCall("call_0", "f", arguments, "written"))
    assert f"do not fit the tool's schema: {reason}" in call.error
    assert call.arguments is None
    assert json.loads(call.raw) == arguments


def test_a_call_of_no_tool():
    assert error_of(POINT, {"x": 1}, "g") == "no tool is named 'g'; there are f"
    assert CallChecks(None).checked(ToolCall("call_0", "g", {}, "")).error == ""


def test_a_dynamic_reference_that_leads_nowhere():
    schema = record(x={"$dynamicRef": "https://example.org/schema.json"})
    assert "'https://example.org/schema.json', which is not in it" in error_of(schema, {"x": 1})


def test_a_reason_is_short_whatever_was_written():
    assert len(error_of(POINT, {"x": "long " * 10_000})) < 300
    assert len(error_of(POINT, {"x": 1}, "f" * 10_000)) < 300
    deep = []
    for _ in range(100_000):
        deep = [deep]
    recursive = {
        **record(x={"$ref": "#/$defs/l"}),
        "$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}}},
    }
    assert error_of(recursive, {"x": deep}).endswith("schema: nested too deeply")


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "int"}, "'int' is not valid under any of the given schemas"),
        (record(x={"type": "object", "required": True}), "True is not of type 'array'"),
        ([], "must be a JSON schema"),
        (record(x={"$ref": "#/$defs/nothing"}), "leads nowhere"),
        (record(x={"$ref": "https://example.org/schema.json"}), "leads nowhere"),
        (record(x={"items": {"$ref": "file:///etc/passwd"}}), "leads nowhere"),
        (record(x={"const": {1, 2}}), "not JSON serializable"),
        ({"$schema": [1]}, "no valid JSON schema"),
    ],
)
def test_a_tools_schema_has_to_be_one(schema, reason):
    with pytest.raises(RequestError, match="tool 'f'") as caught:
        check_tools([tool(schema)])
    assert reason in str(caught.value)
    with pytest.raises(RequestError, match="tool 'f'"):
        Request(messages=[USER], tools=[tool(schema)])


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_of_users_are_valid(name):
    check_tools([tool(SCHEMAS[name])])


READ = {
    '{"name": "f", "arguments": "tmp"}': ("f", "its arguments are no JSON object"),
    '{"name": "f", "arguments": null}': ("f", "its arguments are no JSON object"),
    '{"name": "f", "arguments": [1]}': ("f", "its arguments are no JSON object"),
    '{"name": "f", "arguments": "{\\"x\\": 1"}': ("f", "its arguments are no JSON object"),
    '{"name": "f", "arguments": {"x": 1}': ("", "the call is no JSON"),
    '{"name": "f", "arguments": {"x": NaN}}': ("", "the call is no JSON"),
    f'{{"name": "f", "arguments": {{"x": {"[" * 100_000}1{"]" * 100_000}}}}}': (
        "",
        "the call is no JSON",
    ),
    f'{{"name": "f", "arguments": {{"x": {"[" * 200}1{"]" * 200}}}}}': ("", "the call is no JSON"),
    '{"arguments": {"x": 1}}': ("", "the call names no tool"),
    '{"name": 1, "arguments": {"x": 1}}': ("", "the call names no tool"),
    '{"name": "f"}': (
        "f",
        "its arguments do not fit the tool's schema: 'x' is a required property",
    ),
    '{"name": "f", "arguments": {"x": 1}}': ("f", ""),
    '{"name": "f", "arguments": "{\\"x\\": 1}"}': ("f", ""),
}


@pytest.mark.parametrize("written", READ, ids=lambda text: text[:50])
def test_what_a_reply_asks_for(written):
    reader = ReplyReader(TAGGED.response_template, "", tools=[tool(POINT)])
    reader.feed(f"<tool_call>{written}</tool_call>")
    reader.finish()
    (call,) = reader.tool_calls
    name, reason = READ[written]
    assert (call.name, call.error) == (name, reason)
    assert (call.arguments is None) == bool(reason)


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text()
    )
)
def test_no_arguments_raise(arguments):
    error = error_of(POINT, arguments)
    x = arguments.get("x")
    whole = isinstance(x, float) and x.is_integer()
    assert not error or len(error) < 300
    assert error or whole

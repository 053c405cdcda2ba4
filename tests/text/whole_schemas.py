"""Schemas of every construct at the top and inside, each with a value that fits it."""

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from tests.text.schemas import record

DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
TREE = record(["v"], v=DIGIT, kids={"type": "array", "items": {"$ref": "#/$defs/tree"}})
VARIANTS = [
    record(["x"], k={"const": "x"}, x=DIGIT),
    record(["y"], k={"const": "y"}, y=DIGIT),
]

WHOLE = {
    "reference at the top": ({"$ref": "#/$defs/p", "$defs": {"p": record(x=DIGIT)}}, {"x": 7}),
    "allOf of two": ({"allOf": [record(a=DIGIT), record(b=DIGIT)]}, {"a": 1, "b": 2}),
    "allOf of references": (
        {
            "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
            "$defs": {"a": record(a=DIGIT), "b": record(b={"$ref": "#/$defs/a"})},
        },
        {"a": 1, "b": {"a": 2}},
    ),
    "allOf of a strict part": (
        {"allOf": [{**record(a=DIGIT), "additionalProperties": False}, {"required": ["a"]}]},
        {"a": 3},
    ),
    "reference with more": (
        {
            "$ref": "#/$defs/base",
            "properties": {"b": DIGIT},
            "required": ["b"],
            "$defs": {"base": record(a=DIGIT)},
        },
        {"a": 1, "b": 2},
    ),
    "anyOf": ({"anyOf": [record(a=DIGIT), record(b=DIGIT), {"type": "null"}]}, {"b": 3}),
    "anyOf of required": (
        {**record([], a=DIGIT, b=DIGIT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"b": 4},
    ),
    "oneOf beside properties": (
        {**record(k={"enum": ["x", "y"]}), "oneOf": VARIANTS},
        {"k": "y", "y": 4},
    ),
    "two unions": (
        {
            **record(k=DIGIT),
            "anyOf": [record([], a=DIGIT), record([], b=DIGIT)],
            "oneOf": [record(c=DIGIT), record(d=DIGIT)],
        },
        {"k": 1, "b": 2, "d": 3},
    ),
    "list at the top": (
        {"type": "array", "items": record(a=DIGIT), "minItems": 1, "maxItems": 2},
        [{"a": 1}],
    ),
    "enum at the top": ({"enum": ["a", 1, None]}, None),
    "constant object": ({"const": {"a": [1, {"b": None}]}}, {"a": [1, {"b": None}]}),
    "patterns of names": (
        {"type": "object", "patternProperties": {"^[ab]$": DIGIT, "^c$": {"type": "boolean"}}},
        {"a": 1, "c": True},
    ),
    "names of an enum": (
        {
            "type": "object",
            "propertyNames": {"$ref": "#/$defs/n"},
            "additionalProperties": DIGIT,
            "$defs": {"n": {"enum": ["x", "y"]}},
        },
        {"x": 1, "y": 2},
    ),
    "recursion": ({"$ref": "#/$defs/tree", "$defs": {"tree": TREE}}, {"v": 1, "kids": [{"v": 2}]}),
    "recursion through the top": (
        record([], v=DIGIT, next={"$ref": "#"}),
        {"v": 1, "next": {"v": 2, "next": {}}},
    ),
    "recursion of a part": (
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "base": record(id=DIGIT),
                "node": {
                    "allOf": [
                        {"$ref": "#/$defs/base"},
                        {"properties": {"next": {"$ref": "#/$defs/node", "deprecated": True}}},
                    ]
                },
            },
        },
        {"id": 1, "next": {"id": 2}},
    ),
    "no type": ({"properties": {"a": DIGIT}, "required": ["a"]}, {"a": 1}),
    "required and not named": (record(["z"], a=DIGIT) | {"required": ["z"]}, {"z": [1]}),
    "condition": (
        {
            **record(a=DIGIT),
            "if": {"properties": {"a": {"const": 1}}},
            "then": record(b=DIGIT),
        },
        {"a": 1, "b": 2},
    ),
    "unevaluated": (
        {
            "allOf": [record(a=DIGIT)],
            "properties": {"b": DIGIT},
            "unevaluatedProperties": False,
        },
        {"a": 1, "b": 2},
    ),
    "looking ahead": (
        {"type": "string", "pattern": r"^(?=.*[A-Z])(?!^[a-z]*$)[a-zA-Z]{2,4}$"},
        "aB",
    ),
    "unknown format": (
        record(s={"type": "string", "format": "binary", "maxLength": 4}),
        {"s": "b"},
    ),
    "known format against a pattern": (
        {"type": "string", "format": "email", "pattern": "^user$"},
        "user",
    ),
    "names with slashes": (
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"$anchor": "here", **DIGIT}}},
        5,
    ),
    "anchor": ({"$ref": "#here", "$defs": {"p": {"$anchor": "here", **DIGIT}}}, 5),
    "tuple": ({"type": "array", "prefixItems": [DIGIT, {"type": "boolean"}]}, [1, True]),
    "tuple of draft 7": (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "array",
            "items": [DIGIT],
            "additionalItems": False,
        },
        [1],
    ),
    "exclusive bound of draft 4": (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "integer",
            "minimum": 3,
            "exclusiveMinimum": True,
            "maximum": 9,
        },
        4,
    ),
    "least number of properties": (record([], a=DIGIT, b=DIGIT) | {"minProperties": 1}, {"b": 1}),
}
"""What grammars hold."""

CHECKED = {
    "not": ({"type": "integer", "not": {"const": 4}, "minimum": 3, "maximum": 4}, 3, 4),
    "different items": ({"type": "array", "items": DIGIT, "uniqueItems": True}, [1, 2], [1, 1]),
    "contains": ({"type": "array", "items": DIGIT, "contains": {"const": 1}}, [1], [2]),
    "one of two": ({"oneOf": [DIGIT, {"type": "integer", "multipleOf": 2}]}, 1, 2),
    "count of properties": (
        record([], a=DIGIT, b=DIGIT, c=DIGIT) | {"minProperties": 2},
        {"a": 1, "b": 2},
        {"a": 1},
    ),
    "dependence": (
        record([], a=DIGIT, b=DIGIT) | {"dependentRequired": {"a": ["b"]}},
        {"a": 1, "b": 1},
        {"a": 1},
    ),
    "longest list": ({"type": "array", "items": DIGIT, "maxItems": 10**9}, [1], "no list"),
}
"""What is checked afterwards: a value that fits, and one that does not."""


def fits(value, schema):
    """Return whether a value fits a schema of any draft."""
    return validator_for(schema, default=Draft202012Validator)(schema).is_valid(value)

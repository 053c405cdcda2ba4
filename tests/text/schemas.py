"""Thirty JSON schemas of the kinds that users ask for."""

from jsonschema import Draft202012Validator

TEXT = {"type": "string", "maxLength": 8}
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
FLAG = {"type": "boolean"}


def record(required=None, **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def several(items, low=0, high=2):
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


POINT = record(x=DIGIT, y=DIGIT)

SCHEMAS = {
    "integer": record(n=DIGIT),
    "negative bounds": record(n={"type": "integer", "minimum": -20, "maximum": -3}),
    "exclusive bounds": record(
        n={"type": "integer", "exclusiveMinimum": 10, "exclusiveMaximum": 13}
    ),
    "number": record(n={"type": "number", "minimum": 0, "maximum": 1}),
    "boolean": record(on=FLAG),
    "null": record(nothing={"type": "null"}),
    "short text": record(s=TEXT),
    "text of a length": record(s={"type": "string", "minLength": 2, "maxLength": 3}),
    "pattern": record(code={"type": "string", "pattern": "^[A-C]{2}-[0-9]{2}$"}),
    "date": record(day={"type": "string", "format": "date"}),
    "constant": record(kind={"const": "point"}, n=DIGIT),
    "enum of texts": record(size={"enum": ["small", "medium", "large"]}),
    "enum of numbers": record(size={"type": "integer", "enum": [1, 20, 300]}),
    "enum of kinds": record(size={"enum": [None, True, 7, "seven"]}),
    "unicode values": record(ville={"enum": ["Zürich", "São Paulo", "東京", "🏝️", "Ærø"]}),
    "unicode names": record(**{"größe": DIGIT, "名前": TEXT, "🙂": FLAG}),
    "quotes": record(s={"enum": ['say "yes"', "back\\slash", "two\nlines", "a\tb"]}),
    "optional": record(["a"], a=DIGIT, b=FLAG, c=TEXT),
    "all optional": record([], a=DIGIT, b=FLAG),
    "nested": record(at=POINT, name=TEXT),
    "deeply nested": record(a=record(b=record(c=record(d=POINT)))),
    "union": record(v={"anyOf": [DIGIT, FLAG, POINT]}),
    "nullable": record(v={"anyOf": [POINT, {"type": "null"}]}),
    "types in a list": record(v={"type": ["boolean", "null"]}),
    "list": record(points=several(POINT, 1)),
    "list at the top": several(DIGIT, 1, 4),
    "list of lists": record(rows=several(several(DIGIT, 1), 1)),
    "list of enums": record(tags=several({"enum": ["a", "b", "ü"]}, 0, 3)),
    "reference": {
        **record(a={"$ref": "#/$defs/p"}, b={"$ref": "#/$defs/p"}),
        "$defs": {"p": POINT},
    },
    "recursive": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": record(
                value=DIGIT, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
            )
        },
    },
}


def validate(value, schema):
    """Raise unless the value fits the schema, by a library that the package does not use."""
    Draft202012Validator(schema).validate(value)

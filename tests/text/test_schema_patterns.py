"""Patterns of schemas: as jsonschema has them, in linear time."""

import random

import pytest
from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator

from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.schemas import errors_of, misfit, schema_text, validator
from splitreason_integrations.text.tool_checks import check_tools

ENDLESS = "^(a+)+$"
NAME = "a" * 40 + "!"
NUMBER = {"type": "integer"}
DRAFTS = {
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"pattern": ENDLESS}, NAME, f"'{NAME}' does not match '{ENDLESS}'"),
        ({"patternProperties": {ENDLESS: False}}, {NAME: 1}, ""),
        (
            {"patternProperties": {ENDLESS: True}, "additionalProperties": False},
            {NAME: 1},
            f"Additional properties are not allowed ('{NAME}')",
        ),
        (
            {"allOf": [{"patternProperties": {ENDLESS: True}}], "unevaluatedProperties": False},
            {NAME: 1},
            f"Unevaluated properties are not allowed ('{NAME}')",
        ),
        ({"propertyNames": {"pattern": ENDLESS}}, {NAME[:-1]: 1}, ""),
    ],
)
def test_a_value_cannot_keep_a_pattern_busy(schema, value, said):
    assert misfit(validator(schema_text(schema, "it")), value) == said


def test_a_pattern_that_cannot_be_searched_is_refused_with_the_tool():
    schema = {"properties": {"day": {"patternProperties": {r"(a|b)\1": True}}}}
    with pytest.raises(RequestError, match=r"tool 'f': .* refers back to a group; spell out"):
        check_tools([{"function": {"name": "f", "parameters": schema}}])


def test_a_pattern_of_another_language_is_not_searched_and_what_follows_is():
    known = validator(schema_text({"pattern": r"^\p{Lu}", "minLength": 3}, "it"))
    assert misfit(known, "abc") == ""
    assert "too short" in misfit(known, "ab")


def a_schema(rng, depth, unevaluated):
    """Return a schema about names, as all drafts can have it."""
    patterns = ["^a", "b$", "[cd]", "é", r"\bx", "^(?!a).b"]
    found = {}
    for key in rng.sample(["properties", "patternProperties", "additionalProperties"], 2):
        part = rng.choice([True, False, NUMBER])
        if key == "properties":
            found[key] = {rng.choice(["a", "ab", "é"]): part}
        else:
            found[key] = part if key.startswith("add") else {rng.choice(patterns): part}
    if rng.random() < 0.4:
        found["propertyNames"] = {"pattern": rng.choice(patterns)}
    if depth:
        key = rng.choice(["allOf", "anyOf", "oneOf", "if", "$ref", "dependentSchemas"])
        inner = a_schema(rng, depth - 1, unevaluated)
        if key == "if":
            found |= {
                "if": inner,
                "then": a_schema(rng, 0, unevaluated),
                "else": a_schema(rng, 0, unevaluated),
            }
        elif key == "$ref":
            found |= {"$ref": "#/$defs/one", "$defs": {"one": a_schema(rng, 0, unevaluated)}}
        elif key == "dependentSchemas":
            found[key] = {"a": inner}
        else:
            found[key] = [inner, a_schema(rng, 0, unevaluated)]
        if unevaluated and rng.random() < 0.6:
            found["unevaluatedProperties"] = rng.choice([False, NUMBER])
    return found


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_same_values_fit_as_for_jsonschema(draft):
    rng = random.Random(11)
    fitting = 0
    for _ in range(400):
        # jsonschema takes a name within `additionalProperties` of 2019-09 for a property.
        schema = {"$schema": draft, **a_schema(rng, 2, "2019" not in draft)}
        if "$ref" in str(schema) and schema.get("$ref") is None:
            continue
        ours, theirs = validator(schema_text(schema, "it")), DRAFTS[draft](schema)
        for _ in range(5):
            names = rng.sample(["a", "ab", "b", "cb", "é", "x", "zx", "a\n"], rng.randrange(4))
            value = {name: rng.choice([1, "s"]) for name in names}
            fits = theirs.is_valid(value)
            fitting += fits
            assert (not errors_of(ours, value)) == fits, (schema, value)
    assert 200 < fitting < 1800

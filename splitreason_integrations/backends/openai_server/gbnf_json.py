"""JSON schemas as rules in llama.cpp's notation, with the separators of `json.dumps`.

A rule lets come all that its schema does, and may let come more: what has no counterpart, such as
a pattern, is left out, and a schema that has a key of another kind is any JSON value.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from splitreason_integrations.backends.openai_server.gbnf_rules import (
    NOTHING,
    Rules,
    either,
    times,
)

_NOTES = frozenset(
    {
        *("$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated"),
        *("description", "examples", "readOnly", "title", "writeOnly", "x-guidance"),
    }
)
"""Keys that say nothing of a value's text."""
_KEYS = frozenset(
    {
        *("type", "minLength", "maxLength", "pattern", "format", "minimum", "maximum"),
        *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "items", "minItems", "maxItems"),
        *("properties", "required", "additionalProperties"),
    }
)
"""Keys of which a kind of value knows some, and may ignore all others."""
_PLAIN = r'[^"\\\x00-\x1f]'
_ESCAPED = r'["\\/bfnrt]'
_LEAST = ("minimum", "exclusiveMinimum")
_MOST = ("maximum", "exclusiveMaximum")


class JsonRules:
    """The rules of one schema.

    Attributes:
        root: what lets a value of the schema come.

    """

    def __init__(self, rules: Rules, schema: Any) -> None:
        self._rules = rules
        self._whole = schema
        self._referred: dict[str, str] = {}
        self._kinds: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": lambda _: self._number(),
            "boolean": lambda _: either([rules.literal("true"), rules.literal("false")]),
            "null": lambda _: rules.literal("null"),
        }
        self.root = self._value(schema)

    def _value(self, schema: Any, begun: frozenset[str] = frozenset()) -> str:
        """Return what lets a value come; `begun` are references that lead here by themselves."""
        if not isinstance(schema, Mapping):
            return self._any()
        keys = set(schema) - _NOTES
        if "const" in keys or "enum" in keys:
            values = [schema["const"]] if "const" in keys else schema["enum"]
            return either([self._constant(one) for one in values])
        for key in ("anyOf", "oneOf"):
            if key in keys and keys <= {key, "type"}:
                return either([self._value(one, begun) for one in schema[key]])
        if keys == {"allOf"} and len(schema["allOf"]) == 1:
            return self._value(schema["allOf"][0], begun)
        if keys == {"$ref"}:
            return self._reference(str(schema["$ref"]), begun)
        kinds = schema.get("type", ())
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not kinds or not keys <= _KEYS or not set(kinds) <= set(self._kinds):
            return self._any()
        return either([self._kinds[kind](schema) for kind in kinds])

    def _reference(self, reference: str, begun: frozenset[str]) -> str:
        """Return the rule of the part of the schema that a reference names."""
        if reference in begun:
            # No rule may begin with itself.
            return self._any()
        if reference in self._referred:
            return self._referred[reference]
        part = self._whole
        for step in filter(None, reference.removeprefix("#").split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, Mapping) or name not in part:
                return self._any()
            part = part[name]
        # The part may refer to itself.
        self._referred[reference] = rule = self._rules.new(NOTHING)
        self._rules.add(rule, self._value(part, begun | {reference}))
        return rule

    def _constant(self, value: Any) -> str:
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, int):
            return self._rules.literal(_as_json(value))
        return self._number() if isinstance(value, float) else self._any()

    def _text(self, text: str) -> str:
        """Return what lets a string of this text come; control characters are written variously."""
        if any(one < " " or one == "\x7f" for one in text):
            return self._string({})
        return self._rules.literal(_as_json(text))

    def _any(self) -> str:
        """Return what lets any value come."""

        def all_kinds() -> str:
            return either([kind({}) for kind in self._kinds.values() if kind != self._integer])

        return self._rules.named("json", all_kinds)

    def _object(self, schema: Mapping[str, Any]) -> str:
        """Return what lets an object come: its keys are in the order of the schema."""
        rules, properties = self._rules, schema.get("properties", {})
        required = set(schema.get("required", ()))
        comma, first, then = rules.literal(", "), NOTHING, NOTHING
        if schema.get("additionalProperties") is not False or not required <= set(properties):
            pairs = rules.named("pairs", self._pairs)
            first, then = either([pairs, NOTHING]), either([f"{comma} {pairs}", NOTHING])
        for key in reversed(properties):
            name = f"{self._text(key)} {rules.literal(': ')}"
            pair = rules.new(f"{name} {self._value(properties[key])}")
            without = (first, then) if key not in required else ()
            first = rules.new(either([f"{pair} {then}", *without[:1]]))
            then = rules.new(either([f"{comma} {pair} {then}", *without[1:]]))
        return f"{rules.literal('{')} {first} {rules.literal('}')}"

    def _pairs(self) -> str:
        """Return what lets members of any name and value come."""
        pair = f"{self._string({})} {self._rules.literal(': ')} {self._any()}"
        return self._listed(self._rules.new(pair))

    def _array(self, schema: Mapping[str, Any]) -> str:
        rules, least, most = self._rules, schema.get("minItems", 0), schema.get("maxItems")
        some = NOTHING
        if most is None or most > 0:
            one = rules.new(self._value(schema.get("items")))
            some = self._listed(one, max(least, 1), most)
        some = some if least > 0 else either([some, NOTHING])
        return f"{rules.literal('[')} {some} {rules.literal(']')}"

    def _listed(self, one: str, least: int = 1, most: int | None = None) -> str:
        """Return what lets values come with commas between them."""
        more = self._rules.new(f"{self._rules.literal(', ')} {one}")
        return f"{one} {times(more, least - 1, None if most is None else most - 1)}"

    def _string(self, schema: Mapping[str, Any]) -> str:
        quote, character = self._rules.literal('"'), self._rules.named("character", self._character)
        inner = times(character, schema.get("minLength", 0), schema.get("maxLength"))
        return f"{quote} {inner} {quote}"

    def _character(self) -> str:
        """Return what lets a character of a string come, in whichever way it is written."""
        rules, backslash = self._rules, self._rules.literal("\\")
        digits = " ".join([rules.character("[0-9a-fA-F]")] * 4)
        code = rules.new(f"{backslash} {rules.literal('u')} {digits}")
        escaped = f"{backslash} {rules.character(_ESCAPED)}"
        # Two codes may be one character.
        return either([rules.character(_PLAIN), escaped, times(code, 1, 2)])

    def _integer(self, schema: Mapping[str, Any]) -> str:
        least, most = (_bound(schema, keys) for keys in (_LEAST, _MOST))
        digits = None
        if least is not None and most is not None:
            digits = max(len(str(abs(int(one)))) for one in (least, most)) - 1
        sign = NOTHING if least is not None and least > 0 else self._sign()
        return f"{sign} {self._whole_number(digits)}"

    def _number(self) -> str:
        rules, digit = self._rules, self._digit()
        part = rules.new(f"{rules.literal('.')} {times(digit, 1)}")
        sign = either([rules.character("[-+]"), NOTHING])
        power = rules.new(f"{rules.character('[eE]')} {sign} {times(digit, 1)}")
        whole = self._whole_number(None)
        return f"{self._sign()} {whole} {times(part, 0, 1)} {times(power, 0, 1)}"

    def _sign(self) -> str:
        return either([self._rules.literal("-"), NOTHING])

    def _digit(self) -> str:
        return self._rules.named("digit", lambda: self._rules.character("[0-9]"))

    def _whole_number(self, more: int | None) -> str:
        """Return what lets digits come, so many more than one at most."""
        first = self._rules.character("[1-9]")
        return either([self._rules.literal("0"), f"{first} {times(self._digit(), 0, more)}"])


def _bound(schema: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    """Return a bound of a number, if it has one."""
    known = [schema[key] for key in keys if isinstance(schema.get(key), int | float)]
    return next((one for one in known if not isinstance(one, bool)), None)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

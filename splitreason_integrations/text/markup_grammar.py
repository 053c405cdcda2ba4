"""The grammar of a call's arguments in markup, argument by argument, in Lark's notation.

Text is free up to the mark behind it, which it cannot contain; everything else is JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from splitreason_integrations.protocols import CONTROL, ReplyFormat

Spell = Callable[[str], str]
"""Returns a text in Lark's notation, control tokens as tokens."""

Json = Callable[[Mapping[str, Any]], str]
"""Returns a JSON schema as a grammar takes it."""

_TOKEN = "<["
"""How a control token begins in Lark's notation."""
_SHARED = ("$defs", "definitions")
_MOST_REFERENCES = 64


class MarkupGrammar:
    """Writes the rules of the arguments of a family's calls.

    Args:
        family: how its calls are written.
        spell: spells a text, control tokens as tokens.
        as_json: writes a schema.

    """

    def __init__(self, family: ReplyFormat, spell: Spell, as_json: Json) -> None:
        self._family = family
        self._spell = spell
        self._as_json = as_json
        marks = CONTROL.findall(family.call + family.argument)
        closing = [_escaped(mark) for mark in marks if mark.startswith("</")]
        self._excluded = [f"~/(?s:.*){mark}(?s:.*)/" for mark in closing]

    def rules(self, name: str, schema: Mapping[str, Any]) -> list[str]:
        """Return the rules of one tool's arguments; `name` is that of the first."""
        root = _resolved(schema, schema)
        properties = root.get("properties", {})
        required = root.get("required", ())
        if not properties:
            return [f'{name}: ""']
        keys = list(properties)
        parts = [f"{name}_{at}{'' if key in required else '?'}" for at, key in enumerate(keys)]
        lines = [f"{name}: {' '.join(parts)}"]
        for at, key in enumerate(keys):
            lines += self._argument(f"{name}_{at}", key, properties[key], schema)
        return lines

    def _argument(
        self, name: str, key: str, schema: Any, whole: Mapping[str, Any]
    ) -> Iterator[str]:
        kinds = list(_kinds(schema, whole))
        yield f"{name}: {' | '.join(f'{name}_{at}' for at in range(len(kinds)))}"
        for at, kind in enumerate(kinds):
            string = "true" if kind.get("type") == "string" else "false"
            written = self._family.argument.replace("{string}", string).replace("{key}", key)
            before, after = written.split("{value}")
            rule, value = f"{name}_{at}", f"value_{name}_{at}"
            if string == "false":
                shared = {part: whole[part] for part in _SHARED if part in whole}
                yield f"{rule}: {self._spell(before)} {value} {self._spell(after)}"
                yield f"{value}: %json {self._as_json({**shared, **kind})}"
            elif "enum" in kind:
                texts = " | ".join(json.dumps(one, ensure_ascii=False) for one in kind["enum"])
                yield f"{rule}: {self._spell(before)} ({texts}) {self._spell(after)}"
            else:
                plain = self._plain(after)
                yield f"{rule}: {self._spell(before)} {value} {self._spell(after[len(plain) :])}"
                yield from self._text(value, kind, plain, is_all=plain == after)

    def _text(
        self, name: str, schema: Mapping[str, Any], behind: str, *, is_all: bool
    ) -> Iterator[str]:
        """Yield the rules of a text with the plain text behind it, up to a control token."""
        terminal = name.upper()
        if is_all:
            yield f"{name}[suffix={json.dumps(behind)}]: {terminal}"
        else:
            yield f"{name}: {terminal}_END"
            yield f"{terminal}_END: {terminal} {json.dumps(behind)}"
        yield f"{terminal}: {' & '.join([_pattern(schema), *self._excluded])}"

    def _plain(self, after: str) -> str:
        """Return the text in front of the first control token behind a value."""
        plain = ""
        for part in filter(None, CONTROL.split(after)):
            if self._spell(part).startswith(_TOKEN):
                break
            plain += part
        return plain


def _pattern(schema: Mapping[str, Any]) -> str:
    """Return the regular expression of a text, as far as its schema gives one."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    free = f"/(?s:.{{{least},{most}}})/"
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return free
    start = "" if pattern.startswith("^") else "(?s:.*)"
    end = "" if pattern.endswith("$") else "(?s:.*)"
    inner = pattern.removeprefix("^").removesuffix("$").replace("/", "\\/")
    return f"{free} & /{start}({inner}){end}/"


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", "\\/")


def _kinds(schema: Any, whole: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of which one holds: texts, each with its type, and values of JSON."""
    found = _resolved(schema, whole)
    for key in ("anyOf", "oneOf"):
        if key in found:
            for one in found[key]:
                yield from _kinds(one, whole)
            return
    choices = [found["const"]] if "const" in found else found.get("enum")
    if choices is not None:
        texts = [one for one in choices if isinstance(one, str)]
        others = [one for one in choices if not isinstance(one, str)]
        if texts:
            yield {"type": "string", "enum": texts}
        if others:
            yield {"enum": others}
        return
    kinds = found.get("type", "string")
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        yield {**found, "type": kind}


def _resolved(schema: Any, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or the part of the whole to which it refers."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(schema, Mapping):
            break
        inherited, reference = schema.get("allOf", ()), schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            schema = _part(whole, reference)
        elif len(inherited) == 1:
            schema = inherited[0]
        else:
            return schema
    return {}


def _part(whole: Any, reference: str) -> Any:
    for name in reference.removeprefix("#/").split("/"):
        whole = whole[name.replace("~1", "/").replace("~0", "~")]
    return whole

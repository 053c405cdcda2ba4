"""The grammar of a call's arguments in markup, argument by argument, in Lark's notation.

Text is free up to the mark behind it, which it cannot contain; everything else is JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import islice
from typing import Any

from splitreason_integrations.protocols import CONTROL, ReplyFormat
from splitreason_integrations.text.held_keywords import is_held, without_look_around
from splitreason_integrations.text.held_schema import HeldSchema

Spell = Callable[[str], str]
"""Returns a text in Lark's notation, control tokens as tokens."""

Json = Callable[[Any], str]
"""Returns a JSON schema that `HeldSchema` wrote, as a grammar takes it."""

_TOKEN = "<["
"""How a control token begins in Lark's notation."""
_UNIONS = ("anyOf", "oneOf")
_MOST_FORMS = 64
"""Most combinations of properties that the unions of one tool's arguments may have."""


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
        writer = HeldSchema(schema)
        forms = list(_forms(schema, writer))
        names = [name] if len(forms) == 1 else [f"{name}_{at}" for at in range(len(forms))]
        lines = [] if len(forms) == 1 else [f"{name}: {' | '.join(names)}"]
        for one, form in zip(names, forms, strict=True):
            lines += self._form(one, form, writer)
        return lines

    def _form(self, name: str, form: "_Form", writer: HeldSchema) -> Iterator[str]:
        keys = list(form)
        parts = [f"{name}_{at}{'' if form[key][1] else '?'}" for at, key in enumerate(keys)]
        yield f"{name}: {' '.join(parts) or json.dumps('')}"
        for at, key in enumerate(keys):
            yield from self._argument(f"{name}_{at}", key, form[key][0], writer)

    def _argument(self, name: str, key: str, schema: Any, writer: HeldSchema) -> Iterator[str]:
        kinds = list(_kinds(schema, writer, set()))
        yield f"{name}: {' | '.join(f'{name}_{at}' for at in range(len(kinds)))}"
        for at, kind in enumerate(kinds):
            string = "true" if kind.get("type") == "string" else "false"
            written = self._family.argument.replace("{string}", string).replace("{key}", key)
            before, after = written.split("{value}")
            rule, value = f"{name}_{at}", f"value_{name}_{at}"
            if string == "false":
                yield f"{rule}: {self._spell(before)} {value} {self._spell(after)}"
                yield f"{value}: %json {self._as_json(writer.write(kind))}"
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


def argument_schemas(schema: str, key: str) -> list[Any]:
    """Return the schemas of which an argument's value fits one; `schema` is the tool's, as JSON."""
    read = json.loads(schema)
    known = [form[key][0] for form in _forms(read, HeldSchema(read)) if key in form]
    if known:
        return [one for at, one in enumerate(known) if one not in known[:at]]
    other = read.get("additionalProperties") if isinstance(read, dict) else None
    return [other] if isinstance(other, dict) else []


_Form = dict[str, tuple[Any, bool]]
"""The schema of each argument, and whether it has to be given."""


def _forms(schema: Any, writer: HeldSchema) -> Iterator[_Form]:
    """Yield the combinations of arguments that a tool takes: one, unless it has unions."""
    found = list(islice(_combined(schema, writer, set()), _MOST_FORMS + 1))
    if len(found) <= _MOST_FORMS:
        yield from found
        return
    everything: _Form = {}
    for form in found:
        everything |= {key: (one, False) for key, (one, _) in form.items()}
    yield everything


def _combined(schema: Any, writer: HeldSchema, around: Set[int]) -> Iterator[_Form]:
    """Yield the combinations of arguments of a schema and all that it applies."""
    found = writer.followed(schema)
    if not isinstance(found, Mapping) or id(found) in around:
        yield {}
        return
    inside = {*around, id(found)}
    required = found.get("required", ())
    names = dict.fromkeys([*found.get("properties", ()), *required])
    own = {name: (found.get("properties", {}).get(name, {}), name in required) for name in names}
    groups = [partial(_combined, one, writer, inside) for one in writer.applied(found)]
    groups += [partial(_of_union, found[key], writer, inside) for key in _UNIONS if key in found]
    yield from _products(own, groups)


def _of_union(union: Sequence[Any], writer: HeldSchema, around: Set[int]) -> Iterator[_Form]:
    for one in union:
        yield from _combined(one, writer, around)


def _products(form: _Form, groups: Sequence[Callable[[], Iterator[_Form]]]) -> Iterator[_Form]:
    if not groups:
        yield form
        return
    for other in groups[0]():
        yield from _products(_merged(form, other), groups[1:])


def _merged(one: _Form, other: _Form) -> _Form:
    merged = dict(one)
    for key, (schema, required) in other.items():
        known, is_required = one.get(key, ({}, False))
        both = {"allOf": [known, schema]} if known and schema else known or schema
        merged[key] = (both, required or is_required)
    return merged


def _pattern(schema: Mapping[str, Any]) -> str:
    """Return the regular expression of a text, as far as its schema gives one."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    found = [f"/(?s:.{{{least},{most}}})/"]
    pattern = schema.get("pattern")
    for one in without_look_around(pattern) if isinstance(pattern, str) else ():
        inner = one.removeprefix("^").removesuffix("$").replace("\\/", "/").replace("/", "\\/")
        has_more = re.search(r"(?<!\\)(?<!\[)[$^]", inner) or ("|" in inner and inner != one)
        if has_more or not is_held({"type": "string", "pattern": one}):
            continue
        start = "" if one.startswith("^") else "(?s:.*)"
        end = "" if one.endswith("$") else "(?s:.*)"
        found.append(f"/{start}({inner}){end}/")
    return " & ".join(found)


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", "\\/")


def _kinds(schema: Any, writer: HeldSchema, around: Set[int]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of which one holds: texts, each with its type, and values of JSON."""
    found = writer.followed(schema)
    if not isinstance(found, Mapping):
        found = {}
    inside = {*around, id(found)}
    unions = [key for key in _UNIONS if key in found]
    if unions:
        for one in found[unions[0]]:
            if id(writer.followed(one)) not in inside:
                yield from _kinds(one, writer, inside)
        return
    said = _said(found, writer)
    choices = [said["const"]] if "const" in said else said.get("enum")
    yield from _typed(found, said, writer) if choices is None else _chosen(choices)


def _chosen(choices: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    texts = [one for one in choices if isinstance(one, str)]
    others = [one for one in choices if not isinstance(one, str)]
    if texts:
        yield {"type": "string", "enum": texts}
    if others:
        yield {"enum": others}


def _typed(
    schema: Mapping[str, Any], said: Mapping[str, Any], writer: HeldSchema
) -> Iterator[Mapping[str, Any]]:
    """Yield a schema for each type that a value may have; `said` has its keywords in one."""
    kinds = writer.names(schema).kinds or {"string"}
    for kind in sorted(kinds - ({"integer"} if "number" in kinds else set())):
        if kind == "string":
            yield {**said, "type": kind}
        elif said is schema:
            yield {**schema, "type": kind}
        else:
            yield {"allOf": [schema, {"type": kind}]}


def _said(schema: Mapping[str, Any], writer: HeldSchema) -> Mapping[str, Any]:
    """Return a schema together with what it applies to the same value."""
    parts = writer.applied(schema)
    if not parts:
        return schema
    said: dict[str, Any] = {}
    for part in parts:
        said |= part if isinstance(part, Mapping) else {}
    return {**said, **schema}

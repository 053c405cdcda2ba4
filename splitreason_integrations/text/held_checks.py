"""Whether a grammar holds a schema; found without a model. Errors name the part and the remedy."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.held_keywords import problem_of
from splitreason_integrations.text.held_names import REFERENCES
from splitreason_integrations.text.held_schema import HeldSchema, held
from splitreason_integrations.text.schemas import place_of, schema_text, shortened

_PLACE = re.compile(r"^at \d+\(\d+\): |failed to compile JSON schema: ")
_MOST_TRIED = 300
"""Most parts that are tried in search of the one that cannot be held."""
_LONGEST_SEARCHED = 200_000
_BY_NAME = ("properties", "patternProperties")
_ONE = ("items", "additionalProperties")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_ENDLESS = (
    "each value needs another one inside of it, without end; make that part optional, or allow null"
)
_NOTHING_FITS = "no value fits it: correct it, or leave it out"
_TOO_MUCH = "ask for a text there and check it in your program, or ask for less"


def check_holds(schema: Any, what: str = "the answer's JSON schema") -> None:
    """Raise RequestError where no grammar can hold a schema; `what` is what errors call it."""
    problem = _problem(schema_text(schema, what))
    if problem:
        raise RequestError(f"{what} cannot be used{problem}")


def check_holds_object(schema: Any, what: str) -> None:
    """Raise RequestError where the arguments of a call cannot be held to a schema."""
    check_holds(schema, what)
    kinds = HeldSchema(schema).names(schema).kinds
    if kinds is not None and "object" not in kinds:
        raise RequestError(
            f"{what} allows {' or '.join(sorted(kinds))} at its top, and the arguments of a call "
            "are an object: put it in a property, or ask for an answer instead of a call"
        )


def check_calls(tools: Sequence[Mapping[str, Any]]) -> None:
    """Raise RequestError where calls of one of the tools cannot be held to its schema."""
    for tool in tools:
        function = tool.get("function", tool)
        if function.get("parameters"):
            name = f"tool {function['name']!r}: `parameters`"
            check_holds_object(function["parameters"], name)


@lru_cache(maxsize=256)
def _problem(schema: str) -> str:
    written = json.loads(held(schema))
    problem = _reason(written)
    if not problem:
        return ""
    path = _failing(json.loads(schema)) if len(schema) <= _LONGEST_SEARCHED else ()
    return f" at {place_of(path)}: {problem}"


def _reason(written: Any) -> str:
    """Return why a grammar cannot hold a written schema, and the remedy; empty where it can."""
    if _is_endless(written):
        return _ENDLESS
    said = problem_of(json.dumps(written))
    remedy = _NOTHING_FITS if "nsatisfiable" in said else _TOO_MUCH
    return f"{reason_of(said)}; {remedy}" if said else ""


def reason_of(said: str) -> str:
    """Return the reason that llguidance gives, without its place in the grammar."""
    return shortened(_PLACE.sub("", said.strip().splitlines()[0]))


def _is_endless(written: Any) -> bool:
    """Return whether each value needs another one inside of it, without end."""
    parts = written.get("$defs", {}) if isinstance(written, Mapping) else {}
    ended: set[str] = set()
    while fresh := {name for name in parts.keys() - ended if _ends(parts[name], ended)}:
        ended |= fresh
    return not _ends(written, ended)


def _ends(written: Any, ended: Set[str]) -> bool:
    """Return whether some value of a written schema ends, given the parts of which one does."""
    if not isinstance(written, Mapping):
        return True
    needed = list(written.get("allOf", ()))
    if written.get("type") == "object":
        known = written.get("properties", {})
        needed += [known[name] for name in written.get("required", ()) if name in known]
    if written.get("type") == "array":
        least = written.get("minItems", 0)
        first = written.get("prefixItems", [])
        needed += first[:least] + ([written.get("items", True)] if least > len(first) else [])
    if "$ref" in written and written["$ref"].removeprefix("#/$defs/") not in ended:
        return False
    choices = written.get("anyOf", [True])
    return any(_ends(one, ended) for one in choices) and all(_ends(one, ended) for one in needed)


def _failing(whole: Any) -> tuple[str, ...]:
    """Return where the innermost part is that cannot be held by itself."""
    writer, seen, tried = HeldSchema(whole), {id(whole)}, 0
    path: tuple[str, ...] = ()
    part = whole
    while True:
        for where, inner in _inner(part, path, writer):
            if id(inner) in seen or tried == _MOST_TRIED:
                continue
            seen.add(id(inner))
            tried += 1
            if _reason(writer.write(inner)):
                path, part = where, inner
                break
        else:
            return path


def _inner(
    schema: Any, path: tuple[str, ...], writer: HeldSchema
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the schemas inside of one, with the path to each."""
    if not isinstance(schema, Mapping):
        return
    for key in _BY_NAME:
        for name, one in schema.get(key, {}).items():
            yield (*path, key, name), one
    for key in _ONE:
        if key in schema:
            yield (*path, key), schema[key]
    for key in _SEVERAL:
        for at, one in enumerate(schema.get(key, ())):
            yield (*path, key, str(at)), one
    for key in REFERENCES:
        if isinstance(schema.get(key), str):
            steps = schema[key].removeprefix("#").removeprefix("/").split("/")
            yield tuple(steps), writer.followed({key: schema[key]})

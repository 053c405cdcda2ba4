"""Tool calls in markup: families that write a call argument by argument, and no JSON around it.

What does not match is a broken call. A reply that ends inside a call never makes one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Markup:
    """How the region of a family's calls is read, by regular expressions.

    Attributes:
        call: one call; its groups are `name` and `arguments`. Empty where a region is the arguments
            of one call, whose name opened it.
        argument: one argument; its groups are `key`, `value` and, where the family says whether
            the value is text, `string` (`true` or `false`). Empty where the arguments are JSON.
        end: what ends a region whose calls are whole.

    """

    call: str = ""
    argument: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class WrittenValue:
    """An argument's value as it was written.

    Attributes:
        text: the text.
        is_text: whether the family says that it is text; None where the tool's schema decides.

    """

    text: str
    is_text: bool | None = None


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as it was written.

    Attributes:
        name: the tool's name; empty where none can be read.
        arguments: their JSON, or their values by name; None where they cannot be read.
        raw: the text of the arguments, or of the whole call.

    """

    name: str
    arguments: str | dict[str, WrittenValue] | None
    raw: str


def read_markup(region: str, markup: Markup) -> list[WrittenCall]:
    """Return the calls of a region; one that cannot be read ends it."""
    whole = region.rstrip()
    ended = re.search(rf"(?:{markup.end})\Z", whole)
    if ended is None:
        return [WrittenCall("", None, region)]
    calls: list[WrittenCall] = []
    body = whole[: ended.start()]
    if not markup.call:
        return [_call("", body, markup)]
    for found in _sequence(markup.call, body):
        if found is None:
            return [*calls, WrittenCall("", None, region)]
        calls.append(_call(found["name"].strip(), found["arguments"], markup))
    return calls or [WrittenCall("", None, region)]


def _call(name: str, written: str, markup: Markup) -> WrittenCall:
    if not markup.argument:
        return WrittenCall(name, written, written)
    values: dict[str, WrittenValue] = {}
    for found in _sequence(markup.argument, written):
        if found is None or found["key"] in values:
            return WrittenCall(name, None, written)
        said = found.groupdict().get("string")
        values[found["key"]] = WrittenValue(
            found["value"], None if said is None else said == "true"
        )
    return WrittenCall(name, values, written)


def _sequence(pattern: str, text: str) -> Iterator[re.Match[str] | None]:
    """Yield the matches that a text consists of, and None in place of anything else."""
    matcher = re.compile(pattern, re.DOTALL)
    at = 0
    while rest := text[at:].strip():
        at = text.index(rest, at)
        found = matcher.match(text, at)
        yield found
        if found is None or found.end() == at:
            return
        at = found.end()

"""One trace with its question, validated as untrusted input."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.annotation.tagging import Span
from splitreason_integrations.errors import RequestError
from splitreason_integrations.records import Message
from splitreason_integrations.text.prompts import check_messages

ADDED = ("tagged", "spans", "annotation")
"""Fields that annotation adds to a row."""
_TRACES = ("trace", "reasoning")
_QUESTIONS = ("question", "messages")
_WELL_KNOWN = (
    r"</?(?:bigmodel|think|thinking|reasoning|tool_call|tool_response|answer_end)>"
    r"|<[|｜][^<>|｜\s]{1,60}[|｜]>"
    r"|</?(?:start|end)_of_(?:turn|text|image)>|</?s>|\[/?INST\]|<</?SYS>>"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A validated row.

    Attributes:
        number: Number of the row, from 0.
        data: The row as it was given.
        trace: The reasoning.
        messages: The conversation before it.
        gold: Known hard spans, if any.

    """

    number: int
    data: Mapping[str, Any]
    trace: str
    messages: tuple[Message, ...]
    gold: tuple[Span, ...] | None = None


def read_row(data: Any, number: int, place: str, columns: Mapping[str, str]) -> Row:
    """Validate a row.

    Args:
        data: The row.
        number: Number of the row, from 0.
        place: Where the row is from; starts every error message.
        columns: Maps field names to the row's own, such as {"trace": "thinking"}.

    Raises:
        RequestError: The row is not valid.

    """
    if not isinstance(data, Mapping):
        raise RequestError(f"{place}: must be a JSON object, got {type(data).__name__}")
    named = _renamed(data, columns, place)
    if taken := [name for name in ADDED if name in named]:
        raise RequestError(
            f"{place}: has {taken[0]!r} already: give traces that are not annotated yet, or rename "
            "the field"
        )
    answer = named.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        raise RequestError(f'{place}: "answer" must be text or a number, got {answer!r:.80}')
    trace = _trace(named, place)
    return Row(number, named, trace, _messages(named, place), _gold(named, trace, place))


def control_pattern(tokens: Iterable[str] = ()) -> re.Pattern[str]:
    """Return a pattern that matches control tags: well-known ones, and the given ones."""
    more = [re.escape(token) for token in sorted(set(tokens), key=len, reverse=True)]
    return re.compile("|".join([_WELL_KNOWN, *more]))


def refusal(row: Row, control: re.Pattern[str]) -> str | None:
    """Return why a row cannot be tagged, or None."""
    for name, text in (("trace", row.trace), ("answer", row.data.get("answer"))):
        if isinstance(text, str):
            if found := control.search(text):
                return f"control tag {found.group()} in the {name}"
            if any("\ud800" <= one <= "\udfff" for one in text if one > "\ud7ff"):
                return f"half a character in the {name}"
    return None


def _renamed(data: Mapping[str, Any], columns: Mapping[str, str], place: str) -> dict[str, Any]:
    named = dict(data)
    for field, column in columns.items():
        if column not in data:
            known = ", ".join(map(str, data))
            raise RequestError(f"{place}: has no column {column!r} for {field}; it has {known}")
        named[field] = named.pop(column) if column in named else data[column]
    return named


def _one_of(named: Mapping[str, Any], names: tuple[str, ...], place: str) -> str:
    given = [name for name in names if named.get(name) is not None]
    if len(given) != 1:
        wanted = " or ".join(f'"{name}"' for name in names)
        problem = "has both" if given else "has neither"
        raise RequestError(f"{place}: {problem}: give either {wanted}")
    return given[0]


def _trace(named: Mapping[str, Any], place: str) -> str:
    name = _one_of(named, _TRACES, place)
    trace = named[name]
    if not isinstance(trace, str) or not trace.strip():
        raise RequestError(f'{place}: "{name}" must be text that is not empty, got {trace!r:.80}')
    return trace


def _messages(named: Mapping[str, Any], place: str) -> tuple[Message, ...]:
    name = _one_of(named, _QUESTIONS, place)
    value = named[name]
    if name == "question":
        if not isinstance(value, str) or not value.strip():
            raise RequestError(f'{place}: "question" must be text, got {value!r:.80}')
        return ({"role": "user", "content": value},)
    if not isinstance(value, list):
        raise RequestError(f'{place}: "messages" must be a list, got {value!r:.80}')
    try:
        check_messages(value)
    except RequestError as error:
        raise RequestError(f"{place}: {error}") from error
    return tuple(value)


def _gold(named: Mapping[str, Any], trace: str, place: str) -> tuple[Span, ...] | None:
    given = named.get("gold_spans")
    if given is None:
        return None
    spans = list[Span]()
    for one in given if isinstance(given, list) else [given]:
        pair = one if isinstance(one, list) and len(one) == 2 else [0, 0]
        whole = all(type(place) is int for place in pair)
        if not whole or not 0 <= pair[0] < pair[1] <= len(trace):
            raise RequestError(
                f'{place}: "gold_spans" must be a list of [start, end] inside the trace of '
                f"{len(trace)} characters, got {one!r:.80}"
            )
        spans.append(Span(*pair))
    return tuple(spans)

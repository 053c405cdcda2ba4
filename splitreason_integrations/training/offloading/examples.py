"""Tagged traces as a model reads them: prompt, reasoning with spans, answer; ids and labels."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.records import Message
from splitreason_integrations.text.tags import CLOSE, OPEN, tags_of
from splitreason_integrations.text.tool_calls import parse_arguments

IGNORED = -100
"""The label of a token that is not in the loss, as transformers has it."""
_TAGS = re.compile(f"({re.escape(OPEN)}|{re.escape(CLOSE)})")


@dataclass(frozen=True)
class TaggedTrace:
    """One row of a file of tagged traces: the reasoning as stretches, outside and inside spans.

    Behind it stands an answer, or calls of tools as (name, arguments as JSON), or nothing.
    """

    messages: tuple[Message, ...]
    stretches: tuple[tuple[str, bool], ...]
    answer: str | None
    calls: tuple[tuple[str, str], ...] = ()
    tools: tuple[Message, ...] | None = None


@dataclass(frozen=True)
class Example:
    """Token ids and labels of one trace."""

    input_ids: list[int]
    labels: list[int]


def read_tagged(path: Path) -> Iterator[TaggedTrace]:
    """Yield the rows of a JSON-lines file.

    Raises:
        ConfigurationError: that names the line, for what is no tagged trace.

    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(f"{path}, line {number}", line)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def _row(place: str, line: str) -> TaggedTrace:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{place}: not JSON: {error}") from error
    if not isinstance(row, Mapping) or not isinstance(row.get("tagged"), str):
        raise ConfigurationError(f'{place}: needs "tagged"; `splitreason annotate` writes it')
    messages = row.get("messages")
    if messages is None and isinstance(row.get("question"), str):
        messages = [{"role": "user", "content": row["question"]}]
    if not isinstance(messages, list) or not messages:
        raise ConfigurationError(f'{place}: needs "question", or "messages" as a list')
    answer, calls = row.get("answer"), _calls(place, row.get("tool_calls") or [])
    if answer is not None and calls:
        raise ConfigurationError(f'{place}: has "answer" and "tool_calls"; a reply ends with one')
    return TaggedTrace(
        tuple(messages),
        _stretches(place, row["tagged"]),
        None if answer is None else str(answer),
        calls,
        tuple(row["tools"]) if row.get("tools") else None,
    )


def _calls(place: str, calls: Any) -> tuple[tuple[str, str], ...]:
    """Return calls as chat messages have them; arguments are an object, or its JSON."""
    found = []
    for call in calls if isinstance(calls, list) else [None]:
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        name, given = function.get("name"), function.get("arguments")
        arguments = parse_arguments(given) if isinstance(given, str) else given
        if not isinstance(name, str) or not isinstance(arguments, Mapping):
            raise ConfigurationError(
                f'{place}: "tool_calls" must be a list of {{"name": …, "arguments": {{…}}}}'
            )
        found.append((name, json.dumps(arguments, ensure_ascii=False)))
    return tuple(found)


def _stretches(place: str, tagged: str) -> tuple[tuple[str, bool], ...]:
    stretches, inside = [], False
    for part in _TAGS.split(tagged):
        if part in (OPEN, CLOSE):
            if inside is (part == OPEN):
                raise ConfigurationError(f"{place}: tags must open and close in turn, not nested")
            inside = part == OPEN
        else:
            stretches.append((part, inside))
    if inside:
        raise ConfigurationError(f"{place}: a span is never closed; add {CLOSE}")
    return tuple((text, within) for text, within in stretches if text or within)


class ExampleWriter:
    """Writes traces as one model would have written them.

    Text never becomes a control token; tags are control tokens where the tokenizer has them. With
    `spans_only` what stands outside of spans is not in the loss, the open tags among it.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        name: str,
        span_weight: float,
        seed: int,
        spans_only: bool = False,
    ) -> None:
        self._codec = TokenizerCodec(tokenizer, name=name)
        self._marks = tags_of(self._codec, as_text=True)
        self._end = tokenizer.eos_token_id
        self._span_weight = span_weight
        self._seed = seed
        self._spans_only = spans_only

    def write(self, number: int, trace: TaggedTrace) -> Example:
        """Return the trace of a row; spans are in the loss as often as their weight says.

        Raises:
            ConfigurationError: if the model's chat template refuses the messages.

        """
        try:
            prompt = self._codec.render(trace.messages, trace.tools)
        except RequestError as error:
            raise ConfigurationError(f"trace {number}: {error}") from error
        counts = random.Random(f"{self._seed}/{number}").random() < self._span_weight
        ids, labels = list(prompt.token_ids), [IGNORED] * len(prompt.token_ids)
        for tokens, inside in self._reply(prompt.header, trace):
            ids += tokens
            learned = counts if inside else not self._spans_only
            labels += tokens if learned else [IGNORED] * len(tokens)
        return Example(ids, labels)

    def _reply(self, header: str, trace: TaggedTrace) -> Iterator[tuple[list[int], bool]]:
        """Yield the reply's tokens, and whether they belong to a span but for its open tag."""
        ends = self._codec.reply_format.end_of_reasoning
        starts, encode = ends.replace("/", ""), self._codec.encode
        if starts not in header:
            yield [*self._spelled(starts), *encode("\n")], False
        for text, inside in (*trace.stretches[:-1], *self._last_stretch(trace)):
            if inside:
                yield list(self._marks.open_tokens), False
            yield encode(text), inside
            if inside:
                yield list(self._marks.close_tokens), True
        if trace.answer is not None:
            yield [*self._spelled(ends), *encode(f"\n\n{trace.answer}")], False
        for at, call in enumerate(trace.calls):
            yield self._spelled(ends) if at == 0 else [], False
            yield [*encode("\n" if at else "\n\n"), *self._call(*call)], False
        yield [self._end], False

    def _call(self, name: str, arguments: str) -> list[int]:
        parts = self._codec.reply_format.call_parts(name, arguments)
        return [
            token
            for text, own in parts
            for token in (self._spelled(text) if own else self._codec.encode(text))
        ]

    @staticmethod
    def _last_stretch(trace: TaggedTrace) -> list[tuple[str, bool]]:
        """Return the end of the reasoning, with the line break in front of an answer."""
        after = "" if trace.answer is None and not trace.calls else "\n"
        text, inside = trace.stretches[-1] if trace.stretches else ("", False)
        return [(text, True), (after, False)] if inside else [(text + after, False)]

    def _spelled(self, tag: str) -> list[int]:
        control = self._codec.control_token(tag)
        return self._codec.encode(tag) if control is None else [control]

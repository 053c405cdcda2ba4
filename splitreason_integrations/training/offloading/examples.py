"""Tagged traces as training examples: prompt, reasoning with spans, answer; ids and labels."""

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
"""Label of a token that is not in the loss, as in transformers."""
_TAGS = re.compile(f"({re.escape(OPEN)}|{re.escape(CLOSE)})")


@dataclass(frozen=True)
class TaggedTrace:
    """One row of a file of tagged traces.

    Attributes:
        messages: The conversation.
        segments: The reasoning as (text, whether inside a span).
        answer: The answer after the reasoning, if any.
        calls: Or tool calls after it, as (name, arguments as JSON).
        tools: Schemas of the tools on offer.

    """

    messages: tuple[Message, ...]
    segments: tuple[tuple[str, bool], ...]
    answer: str | None
    calls: tuple[tuple[str, str], ...] = ()
    tools: tuple[Message, ...] | None = None


@dataclass(frozen=True)
class Example:
    """One training example.

    Attributes:
        input_ids: Token ids.
        labels: Label of each token.

    """

    input_ids: list[int]
    labels: list[int]


def read_tagged(path: Path) -> Iterator[TaggedTrace]:
    """Yield the rows of a JSON-lines file.

    Raises:
        ConfigurationError: A line is not a tagged trace; the message names it.

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
        _segments(place, row["tagged"]),
        None if answer is None else str(answer),
        calls,
        tuple(row["tools"]) if row.get("tools") else None,
    )


def _calls(place: str, calls: Any) -> tuple[tuple[str, str], ...]:
    """Return the tool calls of a chat message; arguments may be an object or its JSON."""
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


def _segments(place: str, tagged: str) -> tuple[tuple[str, bool], ...]:
    segments, inside = [], False
    for part in _TAGS.split(tagged):
        if part in (OPEN, CLOSE):
            if inside is (part == OPEN):
                raise ConfigurationError(
                    f"{place}: open and close tags must alternate, without nesting"
                )
            inside = part == OPEN
        else:
            segments.append((part, inside))
    if inside:
        raise ConfigurationError(f"{place}: a span is never closed; add {CLOSE}")
    return tuple((text, within) for text, within in segments if text or within)


class ExampleWriter:
    """Turn traces into examples as if one model had written them.

    Text never becomes a control token; tags are control tokens if the tokenizer has them. With
    `spans_only`, text outside spans and open tags are not in the loss.
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
        self._tags = tags_of(self._codec, as_text=True)
        self._end = tokenizer.eos_token_id
        self._span_weight = span_weight
        self._seed = seed
        self._spans_only = spans_only

    def write(self, number: int, trace: TaggedTrace) -> Example:
        """Return the example of a trace; its spans are in the loss with probability `span_weight`.

        Raises:
            ConfigurationError: The model's chat template rejects the messages.

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
        """Yield the reply's tokens, and whether they belong to a span (its open tag does not)."""
        ends = self._codec.reply_format.end_of_reasoning
        starts, encode = ends.replace("/", ""), self._codec.encode
        if starts not in header:
            yield [*self._spelled(starts), *encode("\n")], False
        for text, inside in (*trace.segments[:-1], *self._last_segment(trace)):
            if inside:
                yield list(self._tags.open_tokens), False
            yield encode(text), inside
            if inside:
                yield list(self._tags.close_tokens), True
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
    def _last_segment(trace: TaggedTrace) -> list[tuple[str, bool]]:
        """Return the end of the reasoning, with a line break before an answer."""
        after = "" if trace.answer is None and not trace.calls else "\n"
        text, inside = trace.segments[-1] if trace.segments else ("", False)
        return [(text, True), (after, False)] if inside else [(text + after, False)]

    def _spelled(self, tag: str) -> list[int]:
        control = self._codec.control_token(tag)
        return self._codec.encode(tag) if control is None else [control]

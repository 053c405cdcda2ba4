"""Generated text → reasoning, answer and tool calls, as it streams.

Regions are told apart by transformers' ResponseParser with the tokenizer's response template;
tokenizers without one get the `<think>` and `<tool_call>` convention that most open models share.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from splitreason_integrations.records import Channel, ToolCall

_CHANNELS = {
    "reasoning_content": Channel.REASONING,
    "reasoning": Channel.REASONING,
    "thinking": Channel.REASONING,
    "content": Channel.ANSWER,
    "tool_calls": Channel.TOOL_CALL,
}

_COMMON_TEMPLATE: dict[str, Any] = {
    "start_anchor_pattern": r"\A",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>"},
        "tool_calls": {"open": "<tool_call>", "close": "</tool_call>", "repeats": True},
        "content": {},
    },
}


def _text_tool_calls(template: Mapping[str, Any]) -> dict[str, Any]:
    # Calls are read as text here, so that broken JSON is reported instead of raised mid-stream.
    copied: dict[str, Any] = deepcopy(dict(template))
    calls = copied["fields"].get("tool_calls")
    if calls is not None and calls.get("content") == "json":
        for key in ("content", "content_args", "transform", "transform_each"):
            calls.pop(key, None)
    return copied


class ReplyReader:
    """Sorts streamed text into channels, strips their edges and watches for stop strings.

    Stop strings end the answer; the reasoning is not searched for them.
    """

    def __init__(
        self, template: Mapping[str, Any] | None, header: str, stop: Sequence[str] = ()
    ) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        if template is None:
            template = _COMMON_TEMPLATE
            header = header[header.rfind("<think>") :] if "<think>" in header else ""
        self._parser = ResponseParser(_text_tool_calls(template), prefix=header)
        self._stop = tuple(stop)
        self._texts = dict.fromkeys(Channel, "")
        self._held = dict.fromkeys(Channel, "")
        self._calls: list[str] = []
        self.channel = Channel.ANSWER
        self.stopped = False
        self._sort(self._parser.initial_events)

    def feed(self, text: str) -> list[tuple[Channel, str]]:
        """Take in new text; return what can be shown now, channel by channel."""
        return [] if self.stopped else self._sort(self._parser.feed(text))

    def finish(self) -> list[tuple[Channel, str]]:
        """End the reply; return the text that was held back to look for a stop string."""
        if self.stopped:
            return []
        _, events = self._parser.finalize()
        shown = self._sort(events)
        rest = self._held[Channel.ANSWER].rstrip()
        if rest and not self.stopped:
            shown.append((Channel.ANSWER, rest))
            self._texts[Channel.ANSWER] += rest
        return shown

    def text(self, channel: Channel) -> str:
        """Return all text shown on a channel so far."""
        return self._texts[channel]

    @property
    def may_stop(self) -> bool:
        """Whether there are stop strings to look for."""
        return bool(self._stop)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls the reply asks for, in order."""
        return tuple(_read_call(index, raw) for index, raw in enumerate(self._calls))

    def _sort(self, events: Sequence[Mapping[str, Any]]) -> list[tuple[Channel, str]]:
        shown = []
        for event in events:
            channel = _CHANNELS.get(event["field"], Channel.ANSWER)
            if event["type"] == "region_close":
                self.channel = Channel.ANSWER
                if channel is Channel.TOOL_CALL:
                    self._calls.append(str(event["value"]))
                continue
            self.channel = channel
            if event["type"] == "region_chunk" and not self.stopped:
                text = self._visible(channel, event["text"])
                if text:
                    self._texts[channel] += text
                    shown.append((channel, text))
        return shown

    def _visible(self, channel: Channel, text: str) -> str:
        text = self._held[channel] + text
        if not self._texts[channel]:
            text = text.lstrip()
        keep = len(text.rstrip())
        if channel is Channel.ANSWER and self._stop:
            found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
            if found:
                self.stopped = True
                self._held[channel] = ""
                return text[: min(found)].rstrip()
            keep = len(text[: min(keep, self._stop_may_begin(text))].rstrip())
        self._held[channel] = text[keep:]
        return text[:keep]

    def _stop_may_begin(self, text: str) -> int:
        longest = max(map(len, self._stop)) - 1
        for at in range(max(0, len(text) - longest), len(text)):
            if any(stop.startswith(text[at:]) for stop in self._stop):
                return at
        return len(text)


def _read_call(index: int, raw: str) -> ToolCall:
    try:
        call = json.loads(raw)
        name, arguments = call["name"], call.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError):
        return ToolCall(id=f"call_{index}", name="", arguments=None, raw=raw)
    valid = isinstance(name, str) and isinstance(arguments, dict)
    return ToolCall(
        id=f"call_{index}",
        name=name if isinstance(name, str) else "",
        arguments=arguments if valid else None,
        raw=raw,
    )

"""Generated text → reasoning, answer and tool calls, as it streams.

transformers' ResponseParser finds the regions, by a model's response template.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.records import CallPiece, Channel, Message, ToolCall
from splitreason_integrations.text.tool_call_stream import CallStream
from splitreason_integrations.text.tool_calls import (
    CALL_FIELDS,
    calls_as_text,
    growing_fields,
    read_calls,
)
from splitreason_integrations.text.tool_checks import CallChecks

_CHANNELS = {
    "reasoning_content": Channel.REASONING,
    "reasoning": Channel.REASONING,
    "thinking": Channel.REASONING,
    "content": Channel.ANSWER,
    **dict.fromkeys(CALL_FIELDS, Channel.TOOL_CALL),
}


class ReplyReader:
    """Sorts streamed text into channels, strips their edges and watches for stop strings.

    Stop strings end the answer; the reasoning is not searched for them. The last call that may be
    made ends the reply.

    Args:
        template: how the model writes replies.
        header: what opens the reply in the prompt.
        stop: the stop strings.
        tools: what may be called; their schemas decide which calls can be made, and give the types
            of arguments that a model writes without quotes.
        max_calls: how many calls may come out; None for any number.

    Attributes:
        channel: the part of the reply being written.
        hides_thoughts: whether the text of a thought that begins now is dropped.
        stopped: whether a stop string, or the last call, ended the reply.
        cut_off: the text from that stop string on, which is not shown.

    """

    def __init__(
        self,
        template: Mapping[str, Any],
        header: str,
        stop: Sequence[str] = (),
        tools: Sequence[Message] | None = None,
        *,
        max_calls: int | None = None,
    ) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        as_text, self._markups = calls_as_text(template)
        self._parser = ResponseParser(as_text, prefix=header, tools=list(tools or ()))
        self._growing = growing_fields(as_text) - self._markups.keys()
        self._stop = tuple(stop)
        self._texts = dict.fromkeys(Channel, "")
        self._held = dict.fromkeys(Channel, "")
        self._checks = CallChecks(tools)
        self._max_calls = math.inf if max_calls is None else max_calls
        self._calls: list[ToolCall] = []
        self._call_stream = CallStream()
        self._call_pieces: list[CallPiece] = []
        self.channel = Channel.ANSWER
        self.hides_thoughts = self._drops = False
        self.stopped = False
        self.cut_off = ""
        self._sort(self._parser.initial_events)

    def feed(self, text: str) -> list[tuple[Channel, str]]:
        """Add new text; return what can be shown now, channel by channel."""
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
    def is_hidden(self) -> bool:
        """Whether a thought is being written whose text is dropped."""
        return self._drops and self.channel is Channel.REASONING

    @property
    def may_stop(self) -> bool:
        """Whether there are stop strings, or a last call, to look for."""
        return bool(self._stop) or 0 < self._max_calls < math.inf

    @property
    def has_all_calls(self) -> bool:
        """Whether the last call that may be made ended the reply."""
        return 0 < self._max_calls <= len(self._calls)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls the reply asks for, in order."""
        return tuple(self._calls)

    def take_call_pieces(self) -> tuple[CallPiece, ...]:
        """Return what was added to the calls since this was last called."""
        pieces, self._call_pieces = self._call_pieces, []
        return tuple(piece for piece in pieces if piece.index < self._max_calls)

    def _sort(self, events: Sequence[Mapping[str, Any]]) -> list[tuple[Channel, str]]:
        shown = []
        for event in events:
            channel = _CHANNELS.get(event["field"], Channel.ANSWER)
            if event["type"] == "region_close":
                self.channel = Channel.ANSWER
                if channel is Channel.TOOL_CALL and not self.stopped:
                    self._take(self._read(event["field"], event["value"]))
                continue
            self.channel = channel
            if event["type"] == "region_open":
                self._drops = channel is Channel.REASONING and self.hides_thoughts
            if self._drops:
                continue
            if event["type"] == "region_chunk" and not self.stopped:
                text = self._visible(channel, event["text"])
                if event["field"] in self._growing:
                    self._call_pieces += self._call_stream.feed(event["text"])
                if text:
                    self._texts[channel] += text
                    shown.append((channel, text))
        return shown

    def _take(self, found: list[ToolCall]) -> None:
        """Keep the calls of a region, as far as they may be made."""
        self._call_pieces += self._call_stream.close(found)
        self._calls = [
            call for at, call in enumerate([*self._calls, *found]) if at < self._max_calls
        ]
        self.stopped = self.has_all_calls

    def _read(self, field: str, region: Any) -> list[ToolCall]:
        calls = read_calls(
            region,
            first=len(self._calls),
            markup=self._markups.get(field),
            value_of=self._checks.value,
        )
        return [self._checks.checked(call) for call in calls]

    def _visible(self, channel: Channel, text: str) -> str:
        text = self._held[channel] + text
        if not self._texts[channel]:
            text = text.lstrip()
        keep = len(text.rstrip())
        if channel is Channel.ANSWER and self._stop:
            found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
            if found:
                self.stopped, self.cut_off = True, text[min(found) :]
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

"""Thoughts within a text, by the marks of any family, as the text streams.

A server that does not separate a model's reasoning sends it with the rest, in marks of a family
that is not known here. Where the template has opened the thought, only its end is sent: the text
before that is known to be a thought once the end has come.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from splitreason_integrations.text.reply_formats import FORMATS
from splitreason_integrations.text.tags import partial_tag

MARKS: Mapping[str, str] = {
    **{form.begin_of_reasoning: form.end_of_reasoning for form in FORMATS.values()},
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|channel>thought": "<channel|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<longcat_think>": "</longcat_think>",
    "◁think▷": "◁/think▷",
}
"""What opens a thought and what ends it: Qwen, DeepSeek and most others, Mistral, gpt-oss, then
Claude, EXAONE and Gemini, distilled ones, Seed, Gemma, Cohere, Apertus, LongCat, Kimi-VL."""

_ENDS = tuple(dict.fromkeys(MARKS.values()))
_AROUND = (
    "<|start|>assistant",
    "<|channel|>final<|message|>",
    "<|return|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
)
"""What families write around an answer."""
_DROPPED = (*_ENDS, *_AROUND)
_ALL = (*MARKS, *_DROPPED)
_ANY = re.compile("|".join(map(re.escape, sorted(_ALL, key=len, reverse=True))))
_MOST_UNSURE = 1 << 18


@dataclass(slots=True)
class Heard:
    """What of a text is known by now: text of thoughts, and the rest."""

    thought: str = ""
    said: str = ""


@dataclass(slots=True)
class Habit:
    """Whether a server sends the end of a thought and not its beginning; None where unknown."""

    sends_ends_alone: bool | None = None


class InlineThoughts:
    """Separates the thoughts from one text.

    Args:
        habit: of the server; what the text shows is noted in it. Where it may send ends alone, the
            text waits for one.

    """

    def __init__(self, habit: Habit) -> None:
        self._habit = habit
        self._held = ""
        self._end: str | None = None
        self._is_unsure = habit.sends_ends_alone is not False
        self._follows_thought = False

    def feed(self, text: str) -> Heard:
        """Return what is known with new text."""
        self._held += text
        heard = Heard()
        while (found := self._next_mark()) is not None:
            before, mark = self._held[: found.start()], found[0]
            self._held = self._held[found.end() :]
            self._take(heard, before, mark)
        if self._is_unsure and len(self._held) < _MOST_UNSURE:
            return heard
        marks = _ALL if self._end is None else (self._end,)
        kept = len(self._held) - partial_tag(self._held, marks)
        self._add(heard, self._held[:kept])
        self._held = self._held[kept:]
        return heard

    def separated(self) -> None:
        """Note that the server sends thoughts by themselves."""
        self._habit.sends_ends_alone, self._is_unsure = False, False

    def finish(self, *, whole: bool) -> Heard:
        """Return the rest; `whole` says that the text was not cut off."""
        if self._is_unsure and whole:
            self._habit.sends_ends_alone = False
        heard = Heard()
        self._add(heard, self._held)
        self._held, self._is_unsure = "", False
        return heard

    def _next_mark(self) -> re.Match[str] | None:
        """Return the next mark: within a thought none but its end counts."""
        if self._end is None:
            return _ANY.search(self._held)
        return re.search(re.escape(self._end), self._held)

    def _take(self, heard: Heard, before: str, mark: str) -> None:
        if mark in _ENDS and self._end is None and self._is_unsure:
            heard.thought += before
            self._habit.sends_ends_alone = True
            self._follows_thought = True
        else:
            self._add(heard, before)
        if self._end is not None:
            self._end, self._follows_thought = None, True
        elif mark in MARKS:
            self._end = MARKS[mark]
        elif mark in _ENDS and not self._is_unsure:
            self._habit.sends_ends_alone = True
        self._is_unsure = False

    def _add(self, heard: Heard, text: str) -> None:
        if self._end is not None:
            heard.thought += text
            return
        if self._follows_thought:
            # White space between the two belongs to neither.
            text = text.lstrip()
        if text:
            self._follows_thought = False
            heard.said += text

"""What a server's refusals teach: which parameters and values it does not take, and its limits.

A refusal may name a parameter because the server does not know it, because it does not take this
value of it, or by the way, in a sentence about something else. Only the first two teach something.
What is learned holds for one server, and is tried again after a while.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from splitreason_integrations.backends.openai_server.failures import is_overflow
from splitreason_integrations.backends.refusal import Refusal
from splitreason_integrations.errors import ModelCallError

NOT_UNDERSTOOD = frozenset({400, 404, 405, 415, 422, 501})
"""Statuses of a question that a server does not understand."""

_MAY_BE_LEFT_OUT = frozenset(
    {
        "add_special_tokens",
        "chat_template_kwargs",
        "enable_thinking",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "min_p",
        "presence_penalty",
        "reasoning_effort",
        "repeat_last_n",
        "repeat_penalty",
        "repetition_penalty",
        "seed",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_ONLY_AS_A_WHOLE = frozenset({"tools"})
"""What is left out altogether or not at all: a value of it is part of the question."""
_LAST_OF_TWO = "temperature"
"""What stays where a server takes only one of two parameters."""
_NEWER_NAMES = {"max_tokens": "max_completion_tokens"}

_KNOWS_NO = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|extra[ _](input|field|forbidden|param|argument)"
    r"|additional propert|unsupported[ _](param|argument|field|propert)"
    r"|no such (param|argument|field)|deprecated"
    r"|not (an? )?(valid|known|recogni[sz]ed|allowed|supported) (param|argument|field|propert)"
)
_WRONG_VALUE = re.compile(
    r"(unsupported|invalid|illegal|bad)[ _](value|type)|\brange\b|\bbetween\b"
    r"|at (most|least)|[<>]=?"
    r"|(less|greater|more|smaller|larger|lower|higher) than"
    r"|(must|should|has to|needs to|can only) be"
    r"|\bmax(imum)?\b|\bmin(imum)?\b"
    r"|not support ['\"`]?[\d.-]|only .{0,30}(value|default)"
    r"|too (large|high|small|low|big)|above|below|exceed|value_error|positive|negative"
)
_TAKES_NO = re.compile(
    r"not (supported|allowed|permitted|available|implemented|accepted|enabled|compatible)"
    r"|(does|do) not (support|accept|take|allow|know)|unsupported|forbidden|incompatible|disabled"
    r"|can(not|'t) (both )?be"
)
_SOMETHING_ELSE = re.compile(
    r"\b(prompt|messages?|context|content|schema|function|but|user|tokens)\b"
)
_NEAR = 80
_OTHER_NAMES = re.compile(r"\b[a-z]+(_[a-z]+)+\b|[^\w ]")
_PARAMETER = re.compile(r"\b(?:param|loc) ([\w.\[\]-]+)")

_MOST_LESSONS = 64

_TOO_LARGE = frozenset({413, 500})
_SEED_BITS = (1 << 31) - 1

_NUMBER = r"(\d[\d,]*)"
_CONTEXT = re.compile(
    rf"(?:context (?:length|window|size|limit)|maximum (?:input )?length)[^\d.]{{0,24}}{_NUMBER}"
)
_SUM = re.compile(rf"{_NUMBER} \+ {_NUMBER} > {_NUMBER}")
_SUM_OF_BOTH = re.compile(rf"tokens \+ \W*max_new_tokens\W* must be <=? ?{_NUMBER}\D*{_NUMBER}")
_READ = re.compile(
    rf"{_NUMBER} (?:tokens )?(?:in|from|of) (?:the |your )?(?:messages|prompt|input)"
    rf"|{_NUMBER} (?:input|prompt) tokens|(?:prompt|input)[^\d.]{{0,30}}{_NUMBER} (?:input )?tokens"
)
_OUTPUT = re.compile(
    r"max_(completion_|new_|output_)?tokens|(output|completion|new|generated) tokens|max_length"
)


class Lesson(Enum):
    """What a refusal says of a parameter that it names."""

    UNKNOWN = auto()
    VALUE = auto()
    NOTHING = auto()


UNKNOWN = Lesson.UNKNOWN


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A parameter that a server is not sent.

    Attributes:
        name: its name.
        value: the value that is left out, as JSON; None for all.

    """

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value[:40]}"


class Lessons:
    """What one server is known not to take.

    Attributes:
        most_tokens: the most tokens of an answer, None where no cap is known.
        context_tokens: the length of its context by its own words, None where it has not said.

    """

    def __init__(self) -> None:
        self._refusals: dict[LeftOut, Refusal] = {}
        self._names: dict[str, str] = {}
        self._most_seed: int | None = None
        self.most_tokens: int | None = None
        self.context_tokens: int | None = None

    @property
    def left_out(self) -> frozenset[LeftOut]:
        """What is left out now."""
        # Other threads may learn meanwhile.
        refusals = list(self._refusals.items())
        return frozenset(one for one, refusal in refusals if refusal.holds)

    def leave_out(self, name: str) -> None:
        """Do not send a parameter from now on: the server takes it and does not heed it."""
        self._refusals.setdefault(LeftOut(name), Refusal()).begin_for_good()

    def learn(self, error: ModelCallError, sent: Mapping[str, Any]) -> frozenset[LeftOut]:
        """Return what a refusal says to leave out; it is, for a while.

        Args:
            error: the refusal.
            sent: the body that was refused.

        """
        if error.retryable or error.status not in NOT_UNDERSTOOD or is_overflow(error.said):
            return frozenset()
        refused = frozenset(self._refused(error.said, sent))
        # Other requests at the same time may have learned it before.
        for one in refused - self.left_out:
            # The latest one comes last: the first ones are forgotten first.
            self._refusals[one] = self._refusals.pop(one, Refusal())
            self._refusals[one].begin()
        while len(self._refusals) > _MOST_LESSONS:
            del self._refusals[next(iter(self._refusals))]
        return refused

    def renames(self, error: ModelCallError, sent: Mapping[str, Any]) -> bool:
        """Return whether a refusal gives the newer name of a parameter; it is used from now on."""
        words = set(re.findall(r"\w+", error.said))
        for old, new in _NEWER_NAMES.items():
            if {old, new} <= words and old in sent and lesson_of(error.said, old) is UNKNOWN:
                self._names[old] = new
                return True
        return False

    def fitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body with the parameters and names that the server takes."""
        if self._most_seed is not None and "seed" in body:
            body = {**body, "seed": body["seed"] & self._most_seed}
        missing = {one.name for one in self.missing(body)}
        if "tools" in missing:
            missing.add("tool_choice")
        return {
            self._names.get(name, name): value
            for name, value in body.items()
            if name not in missing
        }

    def missing(self, body: Mapping[str, Any]) -> frozenset[LeftOut]:
        """Return what of a body the server is not sent."""
        return frozenset(
            one
            for one in self.left_out
            if one.name in body and one.value in (None, _shown(body[one.name]))
        )

    def fits(
        self, error: ModelCallError, *, asked: int, read: int, context_tokens: int
    ) -> int | None:
        """Return for how many tokens to ask instead; None where their number is not the matter.

        Args:
            error: the refusal.
            asked: how many were asked for.
            read: how many tokens the question has, as they are counted here.
            context_tokens: the length of the context, as it is known here.

        """
        if error.retryable or error.status not in NOT_UNDERSTOOD | _TOO_LARGE:
            return None
        said = error.said.lower()
        context, theirs = _context_in(said)
        if is_overflow(said) or theirs is not None:
            self.context_tokens = context or self.context_tokens
            context = min(context or context_tokens, context_tokens)
            if theirs is None:
                # Fewer tokens help only where those that were asked for are what is too much.
                return asked // 2 if read < context < 2 * (read + asked) else None
            return context - theirs if 0 < context - theirs < asked else None
        if not _OUTPUT.search(said):
            return None
        below = [number for number in _numbers(said) if 0 < number < asked]
        if below:
            self.most_tokens = max(below)
        return max(below, default=asked // 2) if below or _WRONG_VALUE.search(said) else None

    def _refused(self, said: str, sent: Mapping[str, Any]) -> Iterator[LeftOut]:
        """Yield what a server's words say that it does not take."""
        names = _named(said, sent)
        if len(names) > 1 and "both" in said.lower():
            names = [name for name in names if name != _LAST_OF_TWO]
        for name in names:
            lesson = lesson_of(said, name)
            if lesson is UNKNOWN:
                yield LeftOut(name)
            elif lesson is Lesson.VALUE and name not in _ONLY_AS_A_WHOLE:
                if name == "seed":
                    # Some servers count in 32 bits.
                    self._most_seed = _SEED_BITS
                yield LeftOut(name, _shown(sent[name]))


def lesson_of(said: str, name: str) -> Lesson:
    """Return what a refusal says of a parameter that it names."""
    for pattern, lesson in (
        (_KNOWS_NO, UNKNOWN),
        (_WRONG_VALUE, Lesson.VALUE),
        (_TAKES_NO, UNKNOWN),
    ):
        if any(_is_about(said, name, found) for found in pattern.finditer(said.lower())):
            return lesson
    return Lesson.NOTHING


def _is_about(said: str, name: str, phrase: "re.Match[str]") -> bool:
    """Return whether a phrase of a refusal is said of a parameter, and not of something else."""
    for found in re.finditer(rf"\b{re.escape(name)}\b", said):
        first, last = sorted([found.span(), phrase.span()])
        # A list may name many parameters before this one.
        between = _OTHER_NAMES.sub("", said[first[1] : last[0]])
        if len(between) <= _NEAR and not _SOMETHING_ELSE.search(between.lower()):
            return True
    return False


def _named(said: str, sent: Mapping[str, Any]) -> list[str]:
    """Return the parameters that were sent and that a refusal names, best by its own field."""
    known = _MAY_BE_LEFT_OUT & set(sent)
    if parameters := _PARAMETER.findall(said):
        named = {one.removeprefix("body.").rstrip(".") for one in parameters}
        return sorted(known & named)
    return sorted(known & set(re.findall(r"\w+", said)))


def _context_in(said: str) -> tuple[int | None, int | None]:
    """Return how long a context is and how much of it the question takes, as a server says it."""
    if found := _SUM.search(said):
        read, _, context = (_numbers(one)[0] for one in found.groups())
        return context, read
    if found := _SUM_OF_BOTH.search(said):
        context, read = (_numbers(one)[0] for one in found.groups())
        return context, read
    return _first(_CONTEXT, said), _first(_READ, said)


def _first(pattern: "re.Pattern[str]", said: str) -> int | None:
    found = pattern.search(said)
    groups = () if found is None else [one for one in found.groups() if one]
    return next(iter(_numbers(groups[0])), None) if groups else None


def _numbers(said: str) -> list[int]:
    found = re.findall(r"(?<![\w.])\d[\d,]*(?![\w.]*\w)", said)
    return [int(one.replace(",", "")) for one in found if len(one) < 16]


def _shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)

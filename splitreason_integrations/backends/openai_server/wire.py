"""Questions to a server, and the events of its answers, checked."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from splitreason_integrations.backends.scores import Scores
from splitreason_integrations.protocols import Codec

_ROUNDING = 1e-3
_TOKEN_ID = re.compile(r"token_id:(\d{1,9})")
_MOST_TOKENS = 1 << 32
REFUSED = "refused"
FULL = "full"
_STOPS = (
    "stop stopped stop_sequence stop_token stop_string eos eos_token end end_turn end_of_text "
    "endoftext complete completed finish finished done success tool_calls tool_call tool_use "
    "function_call pause_turn"
)
_LENGTHS = (
    "length max_tokens max_length max_output max_output_tokens max_new_tokens maximum_tokens "
    "token_limit error_limit"
)
_CONTEXT_ENDS = "model_length model_context_window_exceeded context_length context_length_exceeded"
_VERDICTS = (
    "content_filter content_filtered content_policy content_policy_violation guardrail_intervened "
    "refusal refused safety sensitive recitation blocklist prohibited_content spii language "
    "image_safety malformed_function_call error_toxic"
)
_FAILURES = (
    "error abort aborted cancel cancelled canceled user_cancel timeout time_limit network_error "
    "server_error internal_error insufficient_system_resource insufficient_system_resources failed"
)
_FINISHES: dict[str, str | None] = {
    **dict.fromkeys(("", "null", "none", "unspecified", "not_finished")),
    **dict.fromkeys(_STOPS.split(), "stop"),
    **dict.fromkeys(_LENGTHS.split(), "length"),
    **dict.fromkeys(_CONTEXT_ENDS.split(), FULL),
    **dict.fromkeys(_VERDICTS.split(), REFUSED),
}
"""How servers say that an answer ended, or that it goes on."""
_BROKEN_OFF = frozenset(_FAILURES.split())


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a server.

    Attributes:
        path: where it is sent, behind the server's address.
        body: its data.
        read: makes a Part of an event's data; raises UnreadableError.
        prompt_tokens: the size of the prompt; with `max_tokens` it bounds the answer.
        max_tokens: the most tokens of the answer.
        is_lenient: whether parameters that the server does not take may be left out.

    """

    path: str
    body: Mapping[str, Any]
    read: Callable[[Any], "Part"]
    prompt_tokens: int
    max_tokens: int
    is_lenient: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them.

    Attributes:
        prompt: tokens of the prompt.
        read: those of them that were not cached.
        completion: tokens of the answer, None if the server does not say.

    """

    prompt: int
    read: int
    completion: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One event of an answer.

    Attributes:
        token_ids: the tokens that it adds, None if the server gives no ids.
        text: the text that it adds.
        finish: "stop", "length", `FULL` or `REFUSED` if the answer ends.
        reason: the server's own word for that.
        stop_token: the token that ended it, if the server says.
        prompt: the prompt as the server read it, if it says.
        index: the number of the prompt that it answers.
        top: log probabilities by token, at each token that it adds.
        thought: text that the server takes for reasoning.
        usage: the server's count of tokens.
        calls: pieces of tool calls that come beside the text.
        named: ids of the tokens at which it gives log probabilities, where it names them.

    """

    token_ids: tuple[int, ...] | None = None
    text: str = ""
    finish: str | None = None
    reason: str = ""
    stop_token: int | None = None
    prompt: list[int] | None = None
    index: int = 0
    top: Sequence[Any] = ()
    thought: str = ""
    usage: Usage | None = None
    calls: Sequence[Any] = ()
    named: tuple[int, ...] = ()

    @property
    def is_news(self) -> bool:
        """Whether it says more than that the server is alive."""
        said = (self.token_ids, self.text, self.thought, self.calls)
        return any(said) or any((self.finish, self.top, self.usage))

    def scores(self, codec: Codec, tokens: Collection[int]) -> list[Scores]:
        """Return what is said of `tokens` at each position; raise UnreadableError if it is missing.

        The likeliest token is the one that was written, where ids are given.
        """
        names = {token: (f"token_id:{token}", codec.decode([token])) for token in tokens}
        written = (*(self.token_ids or ()), *[None] * len(self.top))
        return [_scores(one, names, token) for one, token in zip(self.top, written, strict=False)]


class UnreadableError(ValueError):
    """An answer breaks the protocol; `lasting` says that another try would, too."""

    def __init__(self, what: str, *, lasting: bool = False) -> None:
        super().__init__(what)
        self.lasting = lasting


class MisfitError(UnreadableError):
    """An answer does not fit the form that was asked for; `lasting` says that no other would."""


SIGN_OF_LIFE = Part()


def read_part(data: Any) -> Part:
    """Return an event's data as a Part; raise UnreadableError if the data are not valid."""
    choice = first_choice(data)
    if choice is None:
        return Part((), usage=usage_of(data))
    ids, text = choice.get("token_ids"), choice.get("text")
    stop, prompt = choice.get("stop_reason"), choice.get("prompt_token_ids")
    if not _are_ids(ids or []) or not isinstance(text or "", str):
        raise UnreadableError("an event's token ids or text are of another type")
    finish, reason = finish_of(choice)
    index = choice.get("index")
    return Part(
        None if ids is None else tuple(ids),
        text or "",
        finish,
        reason,
        stop if _are_ids([stop]) else None,
        prompt if isinstance(prompt, list) else None,
        index if type(index) is int else 0,
        _top(choice.get("logprobs")),
        usage=usage_of(data),
        named=_named(choice.get("logprobs")),
    )


def first_choice(data: Any) -> Mapping[str, Any] | None:
    """Return an event's first choice, None if it has none, as one with the usage; raise."""
    choices = data.get("choices") if isinstance(data, Mapping) else {}
    if choices is None or choices == []:
        return None
    choice = choices[0] if isinstance(choices, list) else None
    if not isinstance(choice, Mapping):
        raise UnreadableError("an event has no choices")
    return choice


def has_choices(data: Any) -> bool:
    """Return whether an event's data are a part of an answer, llama.cpp's own form included."""
    return isinstance(data, Mapping) and bool(data.get("choices") or data.get("tokens"))


def finish_of(choice: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return how an answer ends, None if it continues, and the server's own word for it.

    Raises UnreadableError where the server broke the answer off. A word that nobody knows is taken
    for the end of the answer, which has been written by then.
    """
    reason = choice.get("finish_reason")
    if reason is None:
        return None, ""
    if not isinstance(reason, str):
        raise UnreadableError(f"ended by {str(reason)[:40]!r}")
    word = re.sub(r"\W+", "_", reason.lower()).removeprefix("finish_reason_")
    if word in _BROKEN_OFF:
        raise UnreadableError(f"ended by {reason[:40]!r}")
    return _FINISHES.get(word, "stop"), reason[:40]


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """Return the usage that an event reports; cached tokens were not read."""
    usage = data.get("usage")
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not _is_count(prompt):
        return None
    read = max(0, prompt - (cached if _is_count(cached) else 0))
    return Usage(prompt, read, completion if _is_count(completion) else None)


def _top(logprobs: Any) -> Sequence[Any]:
    """Return the log probabilities by token, at each token of an event."""
    if not isinstance(logprobs, Mapping):
        return ()
    top, content = logprobs.get("top_logprobs"), logprobs.get("content")
    if isinstance(top, list):
        return top
    return [_by_name(one) for one in content] if isinstance(content, list) else ()


def _named(logprobs: Any) -> tuple[int, ...]:
    """Return the ids of the tokens at which an event has log probabilities, in llama.cpp's form."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    tokens = content if isinstance(content, list) else []
    ids: list[Any] = [one.get("id") for one in tokens if isinstance(one, Mapping)]
    return tuple(ids) if len(ids) == len(tokens) and _are_ids(ids) else ()


def _by_name(token: Any) -> Any:
    """Return what llama.cpp says at a token, in the form that chats have, by names of tokens."""
    if not isinstance(token, Mapping):
        return None
    listed = token.get("top_logprobs")
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        return None
    own = [token] if "logprob" in token else []
    return {_name_of(one): one.get("logprob") for one in (*own, *listed)}


def _name_of(token: Mapping[str, Any]) -> str:
    number = token.get("id")
    return f"token_id:{number}" if type(number) is int else str(token.get("token"))


def _scores(top: Any, names: Mapping[int, Sequence[str]], written: int | None) -> Scores:
    if not isinstance(top, Mapping):
        raise UnreadableError("has no log probabilities at a token")
    listed = {name: _probability(value) for name, value in top.items()}
    ids = {token: one for name, one in listed.items() if (token := _id_in(name)) is not None}
    others = {name: one for name, one in listed.items() if _id_in(name) is None}
    known = ids | {t: others.pop(text) for t, (_, text) in names.items() if text in others}
    if written is None and listed:
        likeliest = max(listed, key=lambda name: listed[name])
        named = next((token for token, both in names.items() if likeliest in both), None)
        written = named if named is not None else _id_in(likeliest)
    return Scores(known, written, tuple(others.values()))


def _id_in(name: Any) -> int | None:
    """Return the token that a server names by its id, None if it does not."""
    found = _TOKEN_ID.fullmatch(name) if isinstance(name, str) else None
    return None if found is None else int(found[1])


def _probability(value: Any) -> float:
    """Return the probability with a logarithm; raise UnreadableError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _ROUNDING:
        raise UnreadableError("a log probability is not one")
    return min(1.0, math.exp(value))


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _MOST_TOKENS


def _are_ids(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)

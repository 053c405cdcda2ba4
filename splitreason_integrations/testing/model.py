"""A model that writes what a script says."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.embedded_codec import embedded_codec
from splitreason_integrations.backends.sequence import check_prompt
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.processes.children import after_fork
from splitreason_integrations.protocols import Codec
from splitreason_integrations.records import Message
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.testing.prompt_memory import PromptMemory
from splitreason_integrations.testing.session import ScriptedSession

Reply = Callable[[Sequence[Message], Sequence[Message] | None], str]
"""Given the messages and the tools of a request, returns what the model writes."""

_SPELLED_CONTROL = re.compile(r"(<[^<>\s]+>)")


def _never(text: str) -> float:
    return 0.0


def _certainly(text: str, token: str) -> float:
    return 1.0


class ScriptedModel:
    """A model that writes `reply`, token by token, where a real one would sample.

    `reply` is a text, a list of texts that requests take in turn (the last one for good), or a
    callable of the request's messages and tools. Control tokens are written as they are spelled.
    The embedded pair's template begins the reasoning, so a small model's text is reasoning up to
    its `</think>`; at each `<bigmodel>` it hands over, and it goes on behind it. Each
    `</bigmodel>` in a large model's text ends a span, and its next span goes on behind it.

    A span is also handed back where `close_probability`, given the text of the sequence so far,
    exceeds the close rule's threshold. A script may hold tags, so the model counts as taught to
    mark spans; with `taught=None` it is probed. `reading` is what the model gives a token of the
    other author, by the text of the sequence before it and the token's own; above 1/2 it would have
    written it, too. `entropy` is that of the next token, by the text so far. `error` is raised
    after `fail_after` tokens of one session; each token takes `delay_s`. `passes` counts a real
    model's passes. Another process gets the model by pickling, if all that it is made of can be
    pickled, and begins its script anew.
    """

    def __init__(
        self,
        reply: Reply | Sequence[str] | str,
        *,
        name: str = "scripted",
        codec: Codec | None = None,
        close_probability: Callable[[str], float] = _never,
        reading: Callable[[str, str], float] = _certainly,
        entropy: Callable[[str], float] = _never,
        fail_after: int | None = None,
        error: Exception | None = None,
        delay_s: float = 0.0,
        slice_tokens: int = 4,
        context_tokens: int = 8192,
        prices: Prices | None = None,
        hint: str | None = None,
        taught: bool | None = True,
        remote: bool = False,
        resumes: bool = True,
    ) -> None:
        given = locals()
        self._options = {name: given[name] for name in given if name not in ("self", "reply")}
        self.name, self.remote, self.resumes = name, remote, resumes
        self._prompts = PromptMemory(codec or embedded_codec())
        self.codec = cast("Codec", self._prompts)
        self.prices, self.hint, self.taught = prices or Prices(), hint, taught
        self.gives = Gives.ALL if not remote else Gives.ALL ^ Gives.FORM
        self.context_tokens = context_tokens
        self.default_sampling = Sampling(temperature=0.0)
        self.unknown_sampling: frozenset[str] = frozenset()
        self.close_probability, self.fail_after = close_probability, fail_after
        self.reading, self.entropy = reading, entropy
        self.error = error or RuntimeError(f"{name} fails on purpose")
        self.delay_s, self.slice_tokens, self.passes = delay_s, slice_tokens, 0
        self.sessions: set[ScriptedSession] = set()
        self._reply, self._opened = reply, 0
        self._closed: dict[tuple[int, ...], ScriptedSession] = {}
        after_fork(self._leave_sessions)

    def __repr__(self) -> str:
        return f"ScriptedModel(name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process makes this model, at the beginning of its script."""
        return partial(ScriptedModel, **self._options), (self._reply,)

    @property
    def open_sessions(self) -> int:
        """How many sessions hold a cache now."""
        return len(self.sessions)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> ScriptedSession:
        """Start a session with a prompt that this model's codec rendered.

        Where something is `written` already, the script goes on behind its own part of it.
        """
        check_prompt(prompt)
        closed, ids = self._closed.get(tuple(prompt)), [*prompt, *written]
        if written and closed is not None and closed.token_ids[: len(ids)] == ids:
            session = ScriptedSession(self, prompt, closed.script, written, like=closed)
        else:
            text = self._next_reply(*self._prompts.recall(tuple(prompt)))
            session = ScriptedSession(self, prompt, self.tokens_of(text), written)
        self.sessions.add(session)
        return session

    def forget(self, session: ScriptedSession) -> None:
        """Let a session go; where it was in its script is kept for one that goes on from it."""
        self.sessions.discard(session)
        self._closed[tuple(session.prompt)] = session

    def _leave_sessions(self) -> None:
        self.sessions = set()  # a forked process has none of its parent's

    def tokens_of(self, text: str) -> list[int]:
        """Return the ids of a script; spellings of control tokens become the tokens."""
        ids: list[int] = []
        for part in _SPELLED_CONTROL.split(text):
            control = self.codec.control_token(part)
            ids += self.codec.encode(part) if control is None else [control]
        return ids

    def _next_reply(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> str:
        if callable(self._reply):
            return self._reply(messages, tools)
        if isinstance(self._reply, str):
            return self._reply
        self._opened += 1
        return self._reply[min(self._opened, len(self._reply)) - 1]

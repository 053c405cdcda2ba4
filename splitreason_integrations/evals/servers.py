"""Two servers at work: against the published flow, on long spans, and under load.

Every figure is a ratio of two ways on the same servers in the same run, taking turns.
"""

import statistics
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitreason_integrations.backends.base import Session, WriteOrder, Written
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Random
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.intervals import bootstrap_median
from splitreason_integrations.evals.load import all_stretches, drained
from splitreason_integrations.evals.published_flow import Flowed, PublishedFlow
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request

LONG_SPAN_TOKENS = 128
MAX_TOKENS = 300

Told = Callable[[str, int, int], None]
"""Told which part is at work, how much of it is done, and of how much."""


class Counted:
    """A model behind a server that counts the requests of its sessions.

    With `endless` it ends nothing: neither what it writes nor what it reads.
    """

    def __init__(self, model: ServerModel, *, endless: bool = False) -> None:
        self._model = model
        self._endless = endless
        self._opened: list[Session] = []
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def requests(self) -> int:
        """All that was asked of the server."""
        return sum(session.requests for session in self._opened)  # type: ignore[attr-defined]

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> Session:
        """Start a session."""
        session = self._model.open(prompt, written)
        write, read = session.write, session.read_probabilities

        def writing(order: WriteOrder) -> AsyncGenerator[Written, None]:
            self.writes += 1
            return write(_without_end(order) if self._endless else order)

        async def reading(token_id: int, *, last: int | None = None, spare: int = 0) -> list[float]:
            return [0.0 for _ in await read(token_id, last=last, spare=spare)]

        session.write = writing  # type: ignore[method-assign]
        if self._endless:
            session.read_probabilities = reading  # type: ignore[method-assign]
        self._opened.append(session)
        return session


def _without_end(order: WriteOrder) -> WriteOrder:
    return replace(order, forbidden=(*order.forbidden, *order.stop_tokens), stop_tokens=frozenset())


@dataclass(frozen=True, slots=True)
class Timed:
    """What one way took for one problem."""

    seconds: float
    requests: int
    large_tokens: int
    text: str = ""


async def against_the_published_flow(
    models: tuple[ServerModel, ServerModel], tasks: Sequence[Task], told: Told, **settings: Any
) -> dict[str, Any]:
    """Return wall time and requests of an answer, ours ÷ the published flow's, in pairs.

    `settings` are those of our engine.
    `bare_ratio` is the part that hands over nothing and reads nothing along: the same stretches of
    tokens in plain requests, one behind the other, on a warm cache.
    """
    flow, pairs, bare_s = PublishedFlow(*models), list[tuple[Timed, Timed]](), list[float]()
    for done, task in enumerate(tasks):
        told("answers", done, len(tasks))
        # Whoever is second finds a warmer cache: they take turns.
        theirs = await _published(flow, task) if done % 2 else None
        reply, ours = await _ours(models, task, settings)
        pairs.append((ours, theirs or await _published(flow, task)))
        bare_s.append(await _bare(models, task, reply))
    told("answers", len(tasks), len(tasks))
    walls = [ours.seconds / theirs.seconds for ours, theirs in pairs]
    bare = [seconds / theirs.seconds for seconds, (_, theirs) in zip(bare_s, pairs, strict=True)]
    return {
        "n": len(pairs),
        "same_text": sum(ours.text == theirs.text for ours, theirs in pairs),
        "wall_ratio": statistics.median(walls),
        "wall_interval": list(bootstrap_median(walls)),
        "bare_ratio": statistics.median(bare),
        "bare_interval": list(bootstrap_median(bare)),
        "ours": _summary([ours for ours, _ in pairs]),
        "published": _summary([theirs for _, theirs in pairs]),
    }


async def _bare(models: tuple[ServerModel, ServerModel], task: Task, reply: Completion) -> float:
    drain, started = drained(lambda: None), time.perf_counter()
    for stretch in all_stretches(models, task, reply):
        await drain(stretch)
    return time.perf_counter() - started


def _summary(timed: Sequence[Timed]) -> dict[str, float]:
    # The first answer of a server that was just started takes longer than many others.
    return {
        "seconds_an_answer": statistics.median(one.seconds for one in timed),
        "requests_an_answer": statistics.fmean(one.requests for one in timed),
        "large_tokens_an_answer": statistics.fmean(one.large_tokens for one in timed),
    }


async def _ours(
    models: tuple[ServerModel, ServerModel], task: Task, settings: Mapping[str, Any]
) -> tuple[Completion, Timed]:
    small, large = (Counted(model) for model in models)
    engine, started = SplitEngine(small=small, large=large, **settings), time.perf_counter()
    reply = await engine.complete(_request(task))
    seconds = time.perf_counter() - started
    ids = [token for piece in reply.pieces for token in piece.token_ids]
    text = models[0].codec.decode(ids)
    requests = small.requests + large.requests
    return reply, Timed(seconds, requests, reply.large_tokens, text)


async def _published(flow: PublishedFlow, task: Task) -> Timed:
    started = time.perf_counter()
    flowed = await flow.answer(task.messages, max_tokens=MAX_TOKENS)
    seconds = time.perf_counter() - started
    return Timed(seconds, flowed.requests, flowed.large_tokens, flowed.text)


def _request(task: Task, *, max_tokens: int = MAX_TOKENS) -> Request:
    return Request(messages=task.messages, tools=task.tools, seed=0, max_tokens=max_tokens)


async def long_spans(
    models: tuple[ServerModel, ServerModel], tasks: Sequence[Task], told: Told
) -> dict[str, Any]:
    """Return requests and wall time of spans held open for 128 tokens, ours ÷ the published."""
    flow, ours, theirs = PublishedFlow(*models), list[Timed](), list[Timed]()
    for done, task in enumerate(tasks):
        told("long spans", done, len(tasks))
        ours.append(await _held_open(models, task))
        prompt, flowed, started = flow.prompt(task.messages), Flowed(), time.perf_counter()
        await flow.span(prompt, flowed, held_open=LONG_SPAN_TOKENS)
        seconds = time.perf_counter() - started
        theirs.append(Timed(seconds, flowed.span_requests, flowed.large_tokens))
    told("long spans", len(tasks), len(tasks))
    walls = [mine.seconds / other.seconds for mine, other in zip(ours, theirs, strict=True)]
    counts = [statistics.fmean(one.requests for one in side) for side in (ours, theirs)]
    return {
        "n": len(tasks),
        "tokens": LONG_SPAN_TOKENS,
        "requests": {"ours": counts[0], "published": counts[1]},
        "requests_ratio": counts[0] / counts[1],
        "wall_ratio": statistics.median(walls),
        "wall_interval": list(bootstrap_median(walls)),
    }


async def _held_open(models: tuple[ServerModel, ServerModel], task: Task) -> Timed:
    """Have one span written to its cap by the engine, and count what the span took."""
    small, large = (Counted(model, endless=True) for model in models)
    engine = SplitEngine(
        small=small,
        large=large,
        trigger=Random(1.0),
        policy=Policy(max_span_tokens=LONG_SPAN_TOKENS, max_spans=1),
    )
    reply = await engine.complete(_request(task, max_tokens=LONG_SPAN_TOKENS + 1))
    (span,) = reply.spans
    if span.tokens != LONG_SPAN_TOKENS:
        raise ConfigurationError(f"a span ended after {span.tokens} tokens: {span.closed_by}")
    requests = small.requests - small.writes + large.requests
    return Timed(span.latency_s, requests, span.tokens)

"""Benchmark two servers: against the published flow, and on long spans.

Every figure is a ratio of two methods on the same servers in the same run, in alternation.
"""

import statistics
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitreason_integrations.backends.base import Session, TokenFacts, Wanted, WriteOrder, Written
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.tag_probe import probe, probe_large
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Random
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.intervals import bootstrap_median
from splitreason_integrations.evals.load import OnProgress, all_segments, drained
from splitreason_integrations.evals.published_flow import FlowReply, PublishedFlow
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request

LONG_SPAN_TOKENS = 128
MAX_TOKENS = 300


class Counted:
    """A server model that counts the requests of its sessions.

    With `endless` it never ends a span: stop tokens are forbidden, and every close probability is
    0.

    Attributes:
        taught: Whether the model knows the tags, where that was found out: it is not asked again.
        writes: How often it was asked to write.

    """

    def __init__(self, model: ServerModel, *, endless: bool = False) -> None:
        known = probe.known(model) or probe_large.known(model)
        # A model that opens spans and closes none has no word in a spec: it is asked again.
        self.taught = known.opens if known and known.opens == known.closes else None
        self._model = model
        self._endless = endless
        self._opened: list[Session] = []
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def requests(self) -> int:
        """Requests sent to the server."""
        return sum(session.requests for session in self._opened)  # type: ignore[attr-defined]

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> Session:
        """Start a session."""
        session = self._model.open(prompt, written)
        write, read = session.write, session.read_facts

        def writing(order: WriteOrder) -> AsyncGenerator[Written, None]:
            self.writes += 1
            return write(_without_end(order) if self._endless else order)

        async def reading(
            wanted: Wanted, *, last: int | None = None, spare: int = 0
        ) -> list[TokenFacts]:
            return [TokenFacts() for _ in await read(wanted, last=last, spare=spare)]

        session.write = writing  # type: ignore[method-assign]
        if self._endless:
            session.read_facts = reading  # type: ignore[method-assign]
        self._opened.append(session)
        return session


async def _probe(models: tuple[ServerModel, ServerModel]) -> None:
    """Find out what the models know of the tags, which is no part of an answer's cost."""
    await probe(models[0])
    await probe_large(models[1])


def _without_end(order: WriteOrder) -> WriteOrder:
    return replace(order, forbidden=(*order.forbidden, *order.stop_tokens), stop_tokens=frozenset())


@dataclass(frozen=True, slots=True)
class Timed:
    """Cost of one method on one problem.

    Attributes:
        seconds: Wall time.
        requests: Requests sent.
        large_tokens: Tokens written by the large model.
        text: The reply.

    """

    seconds: float
    requests: int
    large_tokens: int
    text: str = ""


async def against_the_published_flow(
    models: tuple[ServerModel, ServerModel],
    tasks: Sequence[Task],
    on_progress: OnProgress,
    **settings: Any,
) -> dict[str, Any]:
    """Return wall time and requests per answer, ours ÷ the published flow's.

    `bare_ratio` is the fraction of the time that generation itself takes: the same segments of
    tokens as plain requests, one after the other on a warm cache, without handoffs or reading
    along.

    Args:
        models: Small and large model.
        tasks: The problems to answer.
        on_progress: Called with (part of the benchmark, units done, units in all).
        settings: Settings of our engine.

    """
    await _probe(models)
    flow, pairs, bare_s = PublishedFlow(*models), list[tuple[Timed, Timed]](), list[float]()
    for done, task in enumerate(tasks):
        on_progress("answers", done, len(tasks))
        # The second method finds a warmer cache, so the order alternates.
        theirs = await _published(flow, task) if done % 2 else None
        reply, ours = await _ours(models, task, settings)
        pairs.append((ours, theirs or await _published(flow, task)))
        bare_s.append(await _bare(models, task, reply))
    on_progress("answers", len(tasks), len(tasks))
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
    for segment in all_segments(models, task, reply):
        await drain(segment)
    return time.perf_counter() - started


def _summary(timed: Sequence[Timed]) -> dict[str, float]:
    # Medians, because a new server's first answer takes longer than all others.
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
    models: tuple[ServerModel, ServerModel], tasks: Sequence[Task], on_progress: OnProgress
) -> dict[str, Any]:
    """Return requests and wall time of spans held open for 128 tokens, ours ÷ published."""
    await _probe(models)
    flow, ours, theirs = PublishedFlow(*models), list[Timed](), list[Timed]()
    for done, task in enumerate(tasks):
        on_progress("long spans", done, len(tasks))
        ours.append(await _held_open(models, task))
        prompt, flowed, started = flow.prompt(task.messages), FlowReply(), time.perf_counter()
        await flow.span(prompt, flowed, held_open=LONG_SPAN_TOKENS)
        seconds = time.perf_counter() - started
        theirs.append(Timed(seconds, flowed.span_requests, flowed.large_tokens))
    on_progress("long spans", len(tasks), len(tasks))
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
    """Have the engine write one span up to its cap; return what the span took."""
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

"""Measure two servers under concurrent load against the throughput they reach without handoffs.

The ideal mix sends the same segments of tokens to each server as independent requests: to one
server after the other (`separately`), and to both at once (`together`). In a real answer a segment
must wait for the one before it, which makes the servers' batches smaller. `in_turn` sends the
segments in that order with no other work: an upper bound for any engine that hands off. `undivided`
sends each server all tokens of an answer in one request, a bound that no handoff can reach.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.ids import completion
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.wire import Question, read_part
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.workers import at_once
from splitreason_integrations.records import Author, Completion
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling

OnProgress = Callable[[str, int, int], None]
"""Called with (part of the benchmark, units done, units in all)."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A request without handoffs.

    Attributes:
        model: The server to ask.
        prompt: Token ids of the prompt.
        tokens: Number of tokens to generate.

    """

    model: ServerModel
    prompt: tuple[int, ...]
    tokens: int


Sides = tuple[list[Plain], list[Plain]]
"""Requests to the small model's server, and to the large model's."""


async def under_load(
    models: tuple[ServerModel, ServerModel],
    tasks: Sequence[Task],
    *,
    concurrency: int,
    max_tokens: int,
    on_progress: OnProgress,
    **settings: Any,
) -> dict[str, Any]:
    """Return the engine's throughput at `concurrency`, and its ratios to the ideal mixes.

    Args:
        models: Small and large model.
        tasks: The problems to answer.
        concurrency: Answers in progress at a time.
        max_tokens: Longest reply in tokens.
        on_progress: Called with (part of the benchmark, units done, units in all).
        settings: Settings of the engine.

    """
    engine = SplitEngine(small=models[0], large=models[1], **settings)
    done = list[tuple[Task, Completion]]()

    async def answer(task: Task) -> None:
        request = Request(messages=task.messages, seed=0, max_tokens=max_tokens)
        done.append((task, await engine.complete(request)))
        on_progress("answers at once", len(done), len(tasks))

    split_s = (await at_once(answer, tasks, concurrency)).seconds
    ideal_s = await _driven(_divided(models, done), concurrency, on_progress, "the ideal mix")
    in_turn_s = await _in_turn(models, done, concurrency, on_progress)
    undivided_s = await _driven(_undivided(models, done), concurrency, on_progress, "undivided")
    replies = [reply for _, reply in done]
    tokens = sum(reply.tokens for reply in replies)
    latencies = sorted(reply.latency_s for reply in replies)
    return {
        "n": len(replies),
        "concurrency": concurrency,
        "tokens_per_s": tokens / split_s,
        "offload_share": sum(reply.large_tokens for reply in replies) / tokens,
        "degraded": sum(reply.degraded for reply in replies),
        "latency_s": {
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[int(0.99 * (len(latencies) - 1))],
            "longest": latencies[-1],
        },
        "ideal_ratio": {way: seconds / split_s for way, seconds in ideal_s.items()},
        "in_turn_ratio": in_turn_s / split_s,
        "undivided_ratio": {way: seconds / split_s for way, seconds in undivided_s.items()},
    }


async def _driven(
    sides: Sides, concurrency: int, on_progress: OnProgress, what: str
) -> dict[str, float]:
    """Return the seconds that both servers take for these requests, separately and together."""
    count, of = [0], 2 * sum(map(len, sides))

    def step() -> None:
        count[0] += 1
        on_progress(what, count[0], of)

    separately = [await at_once(drained(step, "separately"), side, concurrency) for side in sides]
    together = asyncio.gather(
        *(at_once(drained(step, "together"), side, concurrency) for side in sides)
    )
    return {
        "separately": sum(pace.seconds for pace in separately),
        "together": await _seconds(together),
    }


async def _in_turn(
    models: tuple[ServerModel, ServerModel],
    done: Sequence[tuple[Task, Completion]],
    concurrency: int,
    on_progress: OnProgress,
) -> float:
    """Return the seconds for all segments, each requested once the one before is complete."""
    answered = [0]
    drain = drained(lambda: None, "in turn")

    async def answer(segments: Sequence[Plain]) -> None:
        for segment in segments:
            await drain(segment)
        answered[0] += 1
        on_progress("in turn", answered[0], len(done))

    segments = [all_segments(models, task, reply) for task, reply in done]
    return (await at_once(answer, segments, concurrency)).seconds


def all_segments(
    models: tuple[ServerModel, ServerModel], task: Task, reply: Completion
) -> list[Plain]:
    """Return each author's segments of a reply as requests, each after all text before it."""
    segments, before = list[Plain](), models[0].codec.render(task.messages, None).token_ids
    for piece in reply.pieces:
        model = models[piece.author is Author.LARGE]
        segments.append(Plain(model, before, len(piece.token_ids)))
        before = (*before, *piece.token_ids)
    return segments


def _divided(
    models: tuple[ServerModel, ServerModel], done: Sequence[tuple[Task, Completion]]
) -> Sides:
    found = [one for task, reply in done for one in all_segments(models, task, reply)]
    small, large = ([one for one in found if one.model is model] for model in models)
    return small, large


def _undivided(
    models: tuple[ServerModel, ServerModel], done: Sequence[tuple[Task, Completion]]
) -> Sides:
    """Return all tokens of each author as one request per answer."""
    sides: Sides = ([], [])
    for task, reply in done:
        prompt = models[0].codec.render(task.messages, None).token_ids
        for at, tokens in enumerate((reply.small_tokens, reply.large_tokens)):
            if tokens:
                sides[at].append(Plain(models[at], prompt, tokens))
    return sides


def drained(step: Callable[[], None], salt: str = "") -> Callable[[Plain], Awaitable[None]]:
    """Return a function that sends a request and reads its answer to the end.

    With a `salt` the server cannot reuse prefixes that earlier requests cached.
    """
    own_cache = {"cache_salt": salt + secrets.token_hex(8)} if salt else {}

    async def drain(one: Plain) -> None:
        order = WriteOrder(
            max_tokens=one.tokens,
            sampling=Sampling(temperature=0.0),
            seed=0,
            stream=0,
            stop_tokens=frozenset(),
        )
        model, more = one.model, {"ignore_eos": True, **own_cache}
        body = completion(model.model, one.prompt, order, max_tokens=one.tokens, position=0)
        question = Question("/completions", body | more, read_part, len(one.prompt), one.tokens)
        call, received = Call(model.replicas.choose(), question), 0
        try:
            while (part := await call.next()) is not None:
                received += len(part.token_ids or ())
            await call.settle()
        finally:
            await call.ended()
        if received != one.tokens:
            raise call.broken(f"returned {received} of {one.tokens} tokens")
        step()

    return drain


async def _seconds(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started

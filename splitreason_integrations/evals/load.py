"""Many requests at once on two servers, against what the same servers deliver by themselves.

The ideal mix is the same numbers of tokens, asked of each server in plain requests with no
hand-over: one server after the other, and both at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.openai_server import ServerModel
from splitreason_integrations.backends.openai_server_call import Call
from splitreason_integrations.backends.openai_server_wire import completion
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling

Done = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Plain:
    """A request with no hand-over: so many tokens behind a prompt."""

    model: ServerModel
    prompt: tuple[int, ...]
    tokens: int


async def under_load(
    models: tuple[ServerModel, ServerModel],
    tasks: Sequence[Task],
    *,
    concurrency: int,
    max_tokens: int,
    told: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Return the split's throughput at `concurrency`, and its ratio to the ideal mix."""
    engine, replies, done = SplitEngine(small=models[0], large=models[1]), list[Completion](), [0]

    def step() -> None:
        done[0] += 1
        told("load", done[0], 3 * len(tasks))

    async def answer(task: Task) -> None:
        request = Request(messages=task.messages, seed=0, max_tokens=max_tokens)
        replies.append(await engine.complete(request))
        step()

    split_s = await _at_once(answer, tasks, concurrency)
    small, large = _plain(models, tasks, replies)
    after_another_s = [await _at_once(_drained(step), side, concurrency) for side in (small, large)]
    together_s = await _seconds(
        asyncio.gather(*(_at_once(_drained(step), side, concurrency) for side in (small, large)))
    )
    tokens = sum(reply.tokens for reply in replies)
    latencies = sorted(reply.latency_s for reply in replies)
    return {
        "n": len(replies),
        "concurrency": concurrency,
        "tokens_per_s": tokens / split_s,
        "ideal_tokens_per_s": tokens / sum(after_another_s),
        "ideal_at_once_tokens_per_s": tokens / together_s,
        "ratio": sum(after_another_s) / split_s,
        "ratio_at_once": together_s / split_s,
        "offload_share": sum(reply.large_tokens for reply in replies) / tokens,
        "latency_s": {
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[int(0.99 * (len(latencies) - 1))],
            "longest": latencies[-1],
        },
        "degraded": sum(reply.degraded for reply in replies),
    }


def _plain(
    models: tuple[ServerModel, ServerModel], tasks: Sequence[Task], replies: Sequence[Completion]
) -> tuple[list[Plain], list[Plain]]:
    """Return what each server would be asked for the replies' tokens."""
    sides: tuple[list[Plain], list[Plain]] = ([], [])
    for task, reply in zip(tasks, replies, strict=True):
        counts = (reply.small_tokens, reply.large_tokens)
        for side, model, tokens in zip(sides, models, counts, strict=True):
            if tokens:
                prompt = model.codec.render(task.messages, None).token_ids
                side.append(Plain(model, prompt, tokens))
    return sides


def _drained(step: Done) -> Callable[[Plain], Awaitable[None]]:
    async def drain(one: Plain) -> None:
        order = WriteOrder(
            max_tokens=one.tokens,
            sampling=Sampling(temperature=0.0),
            seed=0,
            stream=0,
            stop_tokens=frozenset(),
        )
        model = one.model
        body = completion(model.model, one.prompt, order, max_tokens=one.tokens, position=0)
        call, received = Call(model.replicas.choose(), body | {"ignore_eos": True}), 0
        try:
            while (part := await call.next()) is not None:
                received += len(part.token_ids or ())
        finally:
            await call.ended()
        if received != one.tokens:
            raise call.broken(f"gave {received} of {one.tokens} tokens")
        step()

    return drain


async def _at_once(
    work: Callable[[Any], Awaitable[None]], items: Iterable[Any], concurrency: int
) -> float:
    """Do work for all items, so many at once; return the seconds it took."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())

    return await _seconds(all_of_it())


async def _seconds(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started

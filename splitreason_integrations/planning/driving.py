"""Answers made so many at a time, in one stretch, and how fast they came."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import anyio

from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Drive:
    """Greedy replies, `at_once` at a time, and the answers a second in that state."""

    at_once: int
    replies: tuple[Completion, ...]
    answers_per_s: float

    @property
    def latency_s(self) -> float:
        """Mean seconds of an answer."""
        return fmean(reply.latency_s for reply in self.replies)

    @property
    def tokens(self) -> float:
        """Mean tokens of an answer, both models' together."""
        return fmean(reply.tokens for reply in self.replies)

    @property
    def prompt_tokens(self) -> float:
        """Mean tokens of a prompt."""
        return fmean(reply.prompt_tokens for reply in self.replies)

    @property
    def large_tokens(self) -> float:
        """Mean tokens of the large model in an answer."""
        return fmean(reply.large_tokens for reply in self.replies)

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens, over all answers together."""
        return self.large_tokens / self.tokens if self.tokens else 0.0


def joined(drives: Sequence[Drive]) -> Drive:
    """Return drives of the same concurrency as one: all answers ÷ all the time they took."""
    replies = tuple(reply for one in drives for reply in one.replies)
    seconds = sum(len(one.replies) / one.answers_per_s for one in drives)
    return Drive(drives[0].at_once, replies, len(replies) / seconds)


@dataclass(slots=True)
class _Desk:
    """What all workers share: tasks that are left, and what came of the others."""

    left: Iterator[tuple[int, Task]]
    replies: list[Completion] = field(default_factory=list)
    answers_per_s: float = 0.0


def drive(
    engine: SplitEngine,
    tasks: Sequence[Task],
    *,
    at_once: int,
    seed: int,
    max_tokens: int,
) -> Drive:
    """Return the replies to all tasks, of which `at_once` are being answered at all times.

    Each of `at_once` workers has its own rate, up to its last answer, so that the end, where some
    have nothing left to do, does not count. Raises what the engine does.
    """
    desk = _Desk(iter(enumerate(tasks)))

    async def answered(number: int, task: Task) -> Completion:
        request = Request(
            messages=task.messages,
            tools=task.tools,
            sampling=Sampling(temperature=0.0),
            max_tokens=max_tokens,
            seed=seed + number,
        )
        return await engine.complete(request)

    async def work() -> None:
        started_s = ended_s = time.perf_counter()
        done = 0
        for number, task in desk.left:
            desk.replies.append(await answered(number, task))
            done, ended_s = done + 1, time.perf_counter()
        if done:
            desk.answers_per_s += done / (ended_s - started_s)

    async def all_work() -> None:
        async with anyio.create_task_group() as workers:
            for _ in range(at_once):
                workers.start_soon(work)

    try:
        blocking.run(all_work)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return Drive(at_once, tuple(desk.replies), desk.answers_per_s)

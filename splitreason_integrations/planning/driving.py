"""Run tasks at a fixed concurrency and measure the rate of answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.workers import at_once as work_at_once
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Drive:
    """Greedy replies at a fixed concurrency.

    Attributes:
        at_once: Concurrent answers.
        replies: The replies.
        answers_per_s: Answers per second while all workers were busy.

    """

    at_once: int
    replies: tuple[Completion, ...]
    answers_per_s: float

    @property
    def latency_s(self) -> float:
        """Mean seconds per answer."""
        return fmean(reply.latency_s for reply in self.replies)

    @property
    def tokens(self) -> float:
        """Mean tokens per answer by both models."""
        return fmean(reply.tokens for reply in self.replies)

    @property
    def prompt_tokens(self) -> float:
        """Mean tokens per prompt."""
        return fmean(reply.prompt_tokens for reply in self.replies)

    @property
    def large_tokens(self) -> float:
        """Mean large-model tokens per answer."""
        return fmean(reply.large_tokens for reply in self.replies)

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens, over all answers."""
        return self.large_tokens / self.tokens if self.tokens else 0.0


def joined(drives: Sequence[Drive]) -> Drive:
    """Return runs of equal concurrency as one: all answers ÷ total time."""
    replies = tuple(reply for one in drives for reply in one.replies)
    seconds = sum(len(one.replies) / one.answers_per_s for one in drives)
    return Drive(drives[0].at_once, replies, len(replies) / seconds)


def drive(
    engine: SplitEngine,
    tasks: Sequence[Task],
    *,
    at_once: int,
    seed: int,
    max_tokens: int,
) -> Drive:
    """Answer all tasks with `at_once` in progress at a time.

    The end of the run, where some workers are idle, does not count.

    Raises:
        SplitReasonError: The engine failed; the error is the engine's own.

    """
    replies = list[Completion]()

    async def answer(numbered: tuple[int, Task]) -> None:
        number, task = numbered
        request = Request(
            messages=task.messages,
            tools=task.tools,
            sampling=Sampling(temperature=0.0),
            max_tokens=max_tokens,
            seed=seed + number,
        )
        replies.append(await engine.complete(request))

    pace = blocking.run(lambda: work_at_once(answer, enumerate(tasks), at_once))
    return Drive(at_once, tuple(replies), pace.per_s)

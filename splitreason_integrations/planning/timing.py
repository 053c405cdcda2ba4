"""Times both models alone and the split, a slice of each in turn.

Whatever slows the machine for a while then slows all that is compared alike.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from statistics import fmean

from splitreason_integrations import blocking
from splitreason_integrations.backends.base import Model, WriteOrder
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Never
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.runner import Progress
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.planning.driving import Drive, drive, joined
from splitreason_integrations.sampling import Sampling

SMALL, LARGE, SPLIT, CHECK = "small", "large", "split", "check"
_ROUNDS = 4
_READING = "reading"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: problems for each figure, and answers at once."""

    samples: int
    at_once: int
    seed: int = 0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if self.samples < self.at_once:
            raise RequestError(
                f"{self.samples} samples are too few for {self.at_once} answers at once: give "
                "more samples, or a lower concurrency"
            )

    @property
    def runs(self) -> list[tuple[str, int]]:
        """What is run, and with how many answers at once."""
        many = [(SMALL, self.at_once), (LARGE, self.at_once)] if self.at_once > 1 else []
        return [(SMALL, 1), (LARGE, 1), (SPLIT, 1), *many, (CHECK, self.at_once)]

    @property
    def rounds(self) -> int:
        """Into how many slices each run is cut."""
        return max(1, min(_ROUNDS, self.samples // self.at_once))


@dataclass(frozen=True, slots=True)
class Reading:
    """Mean tokens of a prompt, seconds to its first token, and seconds when it is asked again."""

    tokens: float
    first_s: float
    again_s: float


@dataclass(frozen=True, slots=True)
class Times:
    """What was timed: runs by who wrote and how many answers at once, and how fast models read."""

    drives: Mapping[tuple[str, int], Drive]
    readings: Mapping[str, Reading]


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """An engine, its models by role, and the problems to time them on."""

    engine: SplitEngine
    models: Mapping[str, Model]
    tasks: Sequence[Task]
    effort: Effort
    progress: Progress

    def times(self) -> Times:
        """Return all times. An answer of each kind that does not count comes first."""
        effort, runs = self.effort, self.effort.runs
        drives: dict[tuple[str, int], list[Drive]] = {run: [] for run in runs}
        readings: dict[str, list[Reading]] = {role: [] for role in self.models}
        for who in (SMALL, LARGE, SPLIT):
            self._drive(who, self.problems(_READING)[:1], 1)
        for at in range(effort.rounds):
            for role, model in self.models.items():
                self.progress(f"{role}, reading", at, effort.rounds)
                slice_ = self.problems(_READING)[at :: effort.rounds]
                readings[role].append(blocking.run(partial(_read, model, slice_)))
            for who, level in runs:
                self.progress(f"{who}, {level} at once", at, effort.rounds)
                slice_ = self.problems(who, level)[at :: effort.rounds]
                drives[who, level].append(self._drive(who, slice_, level))
        self.progress("measured", effort.rounds, effort.rounds)
        return Times(
            {run: joined(some) for run, some in drives.items()},
            {role: _mean(some) for role, some in readings.items()},
        )

    def problems(self, who: str, level: int = 1) -> list[Task]:
        """Return the problems of a run.

        A model meets none of them twice, so that no server has read one before, if there are
        enough tasks.
        """
        parts = [(_READING, 1), (SMALL, 1), (SMALL, self.effort.at_once)]
        parts += [(SPLIT, 1), (CHECK, self.effort.at_once)]
        at = parts.index((SMALL if who == LARGE else who, level))
        n = self.effort.samples
        return list(islice(cycle(self.tasks), at * n, (at + 1) * n))

    def _drive(self, who: str, tasks: Sequence[Task], at_once: int) -> Drive:
        engine = self.engine
        if who in self.models:
            # The model has both seats, and no span opens.
            alone = self.models[who]
            engine = replace(engine, small=alone, large=alone, trigger=Never(), policy=Policy())
        seed, max_tokens = self.effort.seed, self.effort.max_tokens
        return drive(engine, tasks, at_once=at_once, seed=seed, max_tokens=max_tokens)


async def _read(model: Model, tasks: Sequence[Task]) -> Reading:
    """Time prompts up to their first token; and again on a server, which knows them by then."""
    prompts = [model.codec.render(task.messages, task.tools).token_ids for task in tasks]
    first = [await _first_token_s(model, prompt) for prompt in prompts]
    again = [await _first_token_s(model, prompt) for prompt in prompts] if model.remote else [0.0]
    return Reading(fmean(map(len, prompts)), fmean(first), fmean(again))


async def _first_token_s(model: Model, prompt: Sequence[int]) -> float:
    greedy = Sampling(temperature=0.0)
    order = WriteOrder(1, greedy, seed=0, stream=0, stop_tokens=frozenset())
    session, started_s = model.open(prompt), time.perf_counter()
    try:
        async with aclosing(session.write(order)) as writing:
            async for _ in writing:
                pass
        return time.perf_counter() - started_s
    finally:
        session.close()


def _mean(readings: Sequence[Reading]) -> Reading:
    return Reading(
        fmean(one.tokens for one in readings),
        fmean(one.first_s for one in readings),
        fmean(one.again_s for one in readings),
    )

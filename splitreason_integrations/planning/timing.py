"""Time both models alone and the split, in alternating slices.

Whatever slows the machine temporarily then affects all of them equally.
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
    """How much to measure.

    Attributes:
        samples: Problems per figure.
        at_once: Concurrent answers.
        seed: Seed of the requests.
        max_tokens: Longest reply in tokens.

    Raises:
        RequestError: There are fewer samples than concurrent answers.

    """

    samples: int
    at_once: int
    seed: int = 0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if self.samples < self.at_once:
            raise RequestError(
                f"{self.samples} samples are too few for {self.at_once} concurrent answers: give "
                "more samples, or a lower concurrency"
            )

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Runs to make, as (who, concurrent answers)."""
        many = [(SMALL, self.at_once), (LARGE, self.at_once)] if self.at_once > 1 else []
        return [(SMALL, 1), (LARGE, 1), (SPLIT, 1), *many, (CHECK, self.at_once)]

    @property
    def rounds(self) -> int:
        """Number of slices of each run."""
        return max(1, min(_ROUNDS, self.samples // self.at_once))


@dataclass(frozen=True, slots=True)
class Reading:
    """Mean reading figures of a model.

    Attributes:
        tokens: Tokens per prompt.
        first_s: Seconds to the first token.
        again_s: Seconds to the first token when the prompt is repeated.

    """

    tokens: float
    first_s: float
    again_s: float


@dataclass(frozen=True, slots=True)
class Times:
    """Results of all runs.

    Attributes:
        drives: Runs by (who, concurrent answers).
        readings: Reading figures by model.

    """

    drives: Mapping[tuple[str, int], Drive]
    readings: Mapping[str, Reading]


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Timer of an engine.

    Attributes:
        engine: The engine.
        models: Its models by role.
        tasks: The problems.
        effort: How much to measure.
        progress: Called with (what is measured, rounds done, rounds in all).

    """

    engine: SplitEngine
    models: Mapping[str, Model]
    tasks: Sequence[Task]
    effort: Effort
    progress: Progress

    def times(self) -> Times:
        """Return all times, after one warm-up answer of each kind."""
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
                self.progress(f"{who}, {level} concurrent", at, effort.rounds)
                slice_ = self.problems(who, level)[at :: effort.rounds]
                drives[who, level].append(self._drive(who, slice_, level))
        self.progress("measured", effort.rounds, effort.rounds)
        return Times(
            {run: joined(some) for run, some in drives.items()},
            {role: _mean(some) for role, some in readings.items()},
        )

    def problems(self, who: str, level: int = 1) -> list[Task]:
        """Return the problems of a run.

        If there are enough tasks, no model gets a problem twice, so that no server has it in its
        prefix cache.
        """
        parts = [(_READING, 1), (SMALL, 1), (SMALL, self.effort.at_once)]
        parts += [(SPLIT, 1), (CHECK, self.effort.at_once)]
        at = parts.index((SMALL if who == LARGE else who, level))
        n = self.effort.samples
        return list(islice(cycle(self.tasks), at * n, (at + 1) * n))

    def _drive(self, who: str, tasks: Sequence[Task], at_once: int) -> Drive:
        engine = self.engine
        if who in self.models:
            # The model takes both roles, and no span opens.
            alone = self.models[who]
            engine = replace(engine, small=alone, large=alone, trigger=Never(), policy=Policy())
        seed, max_tokens = self.effort.seed, self.effort.max_tokens
        return drive(engine, tasks, at_once=at_once, seed=seed, max_tokens=max_tokens)


async def _read(model: Model, tasks: Sequence[Task]) -> Reading:
    """Time prompts up to their first token; on a server also a second time, from its cache."""
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

"""Run tasks through the engine, in one mode or in several on the same tasks."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from splitreason_integrations import blocking
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Always, Never
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.answering import Asking, Outcome, answer_task
from splitreason_integrations.evals.journal import Journal, Place, configuration_key
from splitreason_integrations.evals.matching import stages, triggers_of, tune_to
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.workers import at_once

MODES = ("base", "small", "large", "split", "random", "entropy", "rule")
"""Modes that can be measured; `base` is the embedded small model before it learned the tags."""

MATCHED = ("random", "entropy", "rule")
"""Baselines that run at the offload share of `split`."""

ALONE = ("base", "large")
"""Modes that do not use the engine's small model."""

RULE = "="
"""Default pattern of the mode `rule`: a span opens where this `Keyword` ends."""

Progress = Callable[[str, int, int], None]
"""Called with (what runs, answers done, answers in all)."""


class Answers(Protocol):
    """Answers tasks, such as a `ProcessPool`."""

    async def answer_task(
        self, engine: SplitEngine, task: Task, asking: Asking, seed: int
    ) -> Outcome:
        """Answer one task."""
        ...


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Settings that all modes of a comparison share.

    Attributes:
        tasks: The tasks to answer.
        asking: Seed, samples, temperature and length of the answers.
        concurrency: Answers in progress at a time.
        process_pool: Answers instead of this process.
        journal: Where finished answers are stored at once; stored answers are not asked again.
        rule: Pattern of the mode `rule`.
        network: Where the large model is assumed to run, for planned latency.
        progress: Called with (what runs, answers done, answers in all).

    """

    tasks: Sequence[Task]
    asking: Asking = field(default_factory=Asking)
    concurrency: int = 1
    process_pool: Answers | None = None
    journal: Journal | None = None
    rule: str = RULE
    network: Network = field(default_factory=Network)
    progress: Progress = lambda what, done, of: None

    def run(
        self, mode: str, engine: SplitEngine, *, share: float | None = None, small: str = ""
    ) -> Result:
        """Run one mode on all tasks.

        Args:
            mode: One of `MODES`.
            engine: The pair; its policy applies to all modes but `large`, which is the large model
                alone.
            share: Offload share to tune `random`, `entropy`, `rule` and `split` to. Without it
                `split` runs with the engine's trigger, and the others are tuned to the share of
                `split`.
            small: Name of the small model, where several are compared.

        Raises:
            RequestError: The mode is unknown, there are no tasks, or the share is out of range.

        """
        order_of(mode)
        if not self.tasks:
            raise RequestError("no tasks to run")
        if share is not None and not 0 <= share <= 1:
            raise RequestError(f"an offload share lies in (0, 1], got {share}")
        if mode == "base":
            engine = replace(engine, small="embedded:base", large="embedded")
        if mode == "large":
            engine = replace(engine, policy=Policy(models=engine.policy.models))
        fixed = {"base": Never(), "small": Never(), "large": Always(), "split": engine.trigger}
        if mode in fixed and (mode != "split" or share is None):
            return self._run(mode, replace(engine, trigger=fixed[mode]), small=small)
        if share is None:
            share = self._run("split", engine, small=small).offload_share
        return self._at(share, mode, engine, small)

    def compare(
        self,
        modes: Sequence[str],
        engine: SplitEngine,
        *,
        shares: Sequence[float] = (),
        small: str = "",
    ) -> list[Result]:
        """Run several modes, in the order of `MODES`; `split` runs once.

        With `shares`, `split` and its baselines are tuned to each of these shares instead.
        """
        results: list[Result] = []
        own_share: float | None = None
        for mode in sorted(modes, key=order_of):
            asked: list[float | None] = [own_share if mode in MATCHED else None]
            if shares and mode in ("split", *MATCHED):
                asked = [*sorted(shares)]
            for share in asked:
                result = self.run(mode, engine, share=share, small="" if mode in ALONE else small)
                results.append(replace(result, by_share=bool(shares) and share is not None))
                own_share = result.offload_share if mode == "split" else own_share
        return results

    def _at(self, share: float, mode: str, engine: SplitEngine, small: str) -> Result:
        """Run a mode with its trigger tuned as near to an offload share as possible."""
        trigger_at = triggers_of(mode, self.rule)
        if share == 0:
            result = self._run(mode, replace(engine, trigger=Never()), small=small)
            return replace(result, share_asked=share)

        def measure(at: float, prompts: int) -> Result:
            trigger, every = trigger_at(at), -(-len(self.tasks) // prompts)
            numbers = range(0, len(self.tasks), every)
            return self._run(mode, replace(engine, trigger=trigger), numbers, small=small)

        found = tune_to(share, measure, lambda one: one.offload_share, stages(len(self.tasks)))
        return replace(found, share_asked=share)

    def _run(
        self,
        mode: str,
        engine: SplitEngine,
        numbers: Sequence[int] | None = None,
        *,
        small: str,
    ) -> Result:
        """Run a mode on some tasks, by their numbers; on all tasks by default."""
        numbers = range(len(self.tasks)) if numbers is None else numbers
        places = [(task, sample) for task in numbers for sample in range(self.asking.samples)]
        what = f"{mode} {small}".strip()
        if len(numbers) < len(self.tasks):
            what = f"matching {what}"
        done = self._answers(mode, engine, places, what)
        return Result(
            mode=mode,
            trigger=str(engine.trigger),
            outcomes=tuple(done[place] for place in places),
            seed=self.asking.seed,
            small=small,
            samples=self.asking.samples,
            at_once=self.concurrency,
            network=self.network,
        )

    def _answers(
        self, mode: str, engine: SplitEngine, places: Sequence[Place], what: str
    ) -> dict[Place, Outcome]:
        """Return the answers at all places; answers in the journal are not asked again."""
        key = configuration_key(mode, engine) if self.journal else ""
        found = self.journal.found(key) if self.journal else {}
        done = {place: found[place] for place in places if place in found}
        missing = [place for place in places if place not in done]
        self.progress(what, len(done), len(places))
        if missing and self.process_pool is None:
            blocking.run(engine.models)
        answer = answer_task if self.process_pool is None else self.process_pool.answer_task

        async def work(place: Place) -> None:
            number, sample = place
            seed = self.asking.seed + number + sample * len(self.tasks)
            outcome = await answer(engine, self.tasks[number], self.asking, seed)
            done[place] = outcome
            if self.journal:
                self.journal.add(key, place, outcome)
            self.progress(what, len(done), len(places))

        blocking.run(lambda: at_once(work, missing, self.concurrency))
        return done


def order_of(mode: str) -> int:
    """Return a mode's position in `MODES`.

    Raises:
        RequestError: There is no such mode.

    """
    if mode not in MODES:
        raise RequestError(f"unknown mode {mode!r}: use some of {', '.join(MODES)}, or all")
    return MODES.index(mode)


def run_mode(
    mode: str,
    engine: SplitEngine,
    tasks: Sequence[Task],
    *,
    seed: int,
    max_tokens: int = 512,
    progress: Progress = lambda mode, done, of: None,
    share: float | None = None,
    answers: Answers | None = None,
) -> Result:
    """Run one mode greedily, one task at a time; see `Runner.run`."""
    asking = Asking(seed=seed, max_tokens=max_tokens)
    runner = Runner(tasks=tasks, asking=asking, process_pool=answers, progress=progress)
    return runner.run(mode, engine, share=share)


def compare(
    modes: Sequence[str],
    engine: SplitEngine,
    tasks: Sequence[Task],
    *,
    seed: int,
    max_tokens: int = 512,
    progress: Progress = lambda mode, done, of: None,
) -> list[Result]:
    """Run several modes on the same tasks; `split` runs once."""
    asking = Asking(seed=seed, max_tokens=max_tokens)
    return Runner(tasks=tasks, asking=asking, progress=progress).compare(modes, engine)


def fingerprint(tasks: Sequence[Task]) -> str:
    """Return a hash of tasks: questions, tools, answers and grading."""
    digest = hashlib.sha256()
    for task in tasks:
        parts = [list(map(dict, task.messages)), task.answer, task.grade]
        parts.append([dict(tool) for tool in task.tools or ()])
        digest.update(json.dumps(parts, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()

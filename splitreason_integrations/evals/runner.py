"""Runs tasks through the engine, in one mode or in several on the same tasks."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from splitreason_integrations import blocking
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Always, Never
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.answering import Asking, Outcome, answered
from splitreason_integrations.evals.journal import Journal, Place, way_of
from splitreason_integrations.evals.matching import bring_to, knob, stages
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.process_pool import ProcessPool
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.workers import at_once

MODES = ("base", "small", "large", "split", "random", "entropy", "rule")
"""What can be measured: `base` is the embedded small model before it learned the tags."""

MATCHED = ("random", "entropy", "rule")
"""Modes that run at the offload share of `split`."""

ALONE = ("base", "large")
"""Modes in which an engine's small model has no part."""

RULE = "="
"""Where a rule opens unless another one is given: the pattern of a `Keyword`."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Runner:
    """All that the modes of a comparison share: tasks, and how they are asked.

    `concurrency` answers are under way at a time; a `crew` of so many processes answers in place
    of this one. With a `journal` finished answers are on disk at once and not asked again.
    `network` is where the large model is planned to be. `progress` hears what runs, and how many
    answers of how many are done.
    """

    tasks: Sequence[Task]
    asking: Asking = field(default_factory=Asking)
    concurrency: int = 1
    crew: ProcessPool | None = None
    journal: Journal | None = None
    rule: str = RULE
    network: Network = field(default_factory=Network)
    progress: Progress = lambda what, done, of: None

    def run(
        self, mode: str, engine: SplitEngine, *, share: float | None = None, small: str = ""
    ) -> Result:
        """Return a mode's figures on all tasks.

        Args:
            mode: one of MODES.
            engine: its policy holds for all modes but `large`, which is the large model alone.
            share: what `random`, `entropy` and `rule` are brought to, and `split`, by the threshold
                of its tag, where it is given. Without, `split` runs as the engine's trigger says,
                and the others at its share.
            small: names the small model where there are several.

        Raises:
            RequestError: an unknown mode, no tasks, or a share that is not within (0, 1].

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
        """Return the figures of several modes, in the order of MODES; `split` is run once.

        With `shares`, `split` and those that run at its share are brought to each of them instead.
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
        """Return a mode's figures at an offload share, as near as its trigger comes."""
        trigger_at = knob(mode, self.rule)
        if share == 0:
            result = self._run(mode, replace(engine, trigger=Never()), small=small)
            return replace(result, share_asked=share)

        def measure(at: float, prompts: int) -> Result:
            trigger, every = trigger_at(at), -(-len(self.tasks) // prompts)
            numbers = range(0, len(self.tasks), every)
            return self._run(mode, replace(engine, trigger=trigger), numbers, small=small)

        found = bring_to(share, measure, lambda one: one.offload_share, stages(len(self.tasks)))
        return replace(found, share_asked=share)

    def _run(
        self,
        mode: str,
        engine: SplitEngine,
        numbers: Sequence[int] | None = None,
        *,
        small: str,
    ) -> Result:
        """Return the figures of some tasks, by their numbers; of all without."""
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
        """Return the answers at all places; those that the journal has are not asked again."""
        way = way_of(mode, engine) if self.journal else ""
        found = self.journal.found(way) if self.journal else {}
        done = {place: found[place] for place in places if place in found}
        missing = [place for place in places if place not in done]
        self.progress(what, len(done), len(places))
        if missing and self.crew is None:
            blocking.run(engine.models)
        answer = answered if self.crew is None else self.crew.answered

        async def work(place: Place) -> None:
            number, sample = place
            seed = self.asking.seed + number + sample * len(self.tasks)
            outcome = await answer(engine, self.tasks[number], self.asking, seed)
            done[place] = outcome
            if self.journal:
                self.journal.add(way, place, outcome)
            self.progress(what, len(done), len(places))

        blocking.run(lambda: at_once(work, missing, self.concurrency))
        return done


def order_of(mode: str) -> int:
    """Return a mode's place among MODES; raise RequestError for an unknown one."""
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
) -> Result:
    """Return a mode's figures, asked greedily, one task at a time; see `Runner.run`."""
    asking = Asking(seed=seed, max_tokens=max_tokens)
    return Runner(tasks=tasks, asking=asking, progress=progress).run(mode, engine, share=share)


def compare(
    modes: Sequence[str],
    engine: SplitEngine,
    tasks: Sequence[Task],
    *,
    seed: int,
    max_tokens: int = 512,
    progress: Progress = lambda mode, done, of: None,
) -> list[Result]:
    """Return the figures of several modes on the same tasks; `split` is run once."""
    asking = Asking(seed=seed, max_tokens=max_tokens)
    return Runner(tasks=tasks, asking=asking, progress=progress).compare(modes, engine)


def fingerprint(tasks: Sequence[Task]) -> str:
    """Return a hash of tasks: what is asked, on offer and right, and how replies are graded."""
    told = hashlib.sha256()
    for task in tasks:
        parts = [list(map(dict, task.messages)), task.answer, task.grade]
        parts.append([dict(tool) for tool in task.tools or ()])
        told.update(json.dumps(parts, sort_keys=True, default=str).encode() + b"\n")
    return told.hexdigest()

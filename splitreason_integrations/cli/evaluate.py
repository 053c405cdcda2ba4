"""`splitreason eval`: measure accuracy, offload share, latency and cost on a set of tasks."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from splitreason_integrations import __version__
from splitreason_integrations.audit.settings import settings_of
from splitreason_integrations.backends.registry import ModelSpec
from splitreason_integrations.cli import eval_options, options
from splitreason_integrations.cli.display import progress_bar
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import Keyword
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals import report, tables
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.contest import Contest, Shares, contest
from splitreason_integrations.evals.journal import REPORTS, Journal
from splitreason_integrations.evals.page import write_report
from splitreason_integrations.evals.plot import check_matplotlib
from splitreason_integrations.evals.process_pool import ProcessPool
from splitreason_integrations.evals.runner import RULE, Progress, Runner, fingerprint, order_of
from splitreason_integrations.humans.screen import Screen, echo

_T = TypeVar("_T")


def evaluate(
    mode: eval_options.Mode = "split",
    task: eval_options.TaskName = None,
    data: eval_options.Data = None,
    family: eval_options.Families = "word,context",
    split: eval_options.Split = "test",
    samples: eval_options.Samples = 200,
    samples_per_task: eval_options.SamplesPerTask = 1,
    temperature: eval_options.Temperature = 0.0,
    grade: eval_options.GradeName = "auto",
    small: options.Small = None,
    large: options.Large = None,
    compare: eval_options.Compare = None,
    trigger: options.OwnTrigger = None,
    close: options.OwnClose = None,
    at_share: eval_options.AtShare = None,
    rule: eval_options.Rule = RULE,
    policy: options.PolicyName = None,
    max_share: options.MaxShare = None,
    max_tokens: options.MaxTokens = 512,
    large_input_usd: options.InputUsd = 0.0,
    large_output_usd: options.OutputUsd = 0.0,
    round_trip_ms: options.RoundTripMs = 0.0,
    large_tokens_per_s: options.TokensPerS = None,
    concurrency: eval_options.Concurrency = 1,
    processes: eval_options.Processes = 1,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    out: eval_options.Out = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure accuracy, offload share, latency and cost, with 95 % intervals.

    `random`, `entropy` and `rule` may open a span at any token, as often as needed for the offload
    share that `split` has on the same tasks. A policy applies to all modes but `large`. Modes are
    compared in pairs on the same tasks. By default latency is measured with one answer at a time.
    """
    eval_options.check_compared(compare, large)
    described = options.engine(small, large, trigger, max_share, policy, close=close)
    engine = options.priced(described, Prices(large_input_usd, large_output_usd))
    first, *others = (
        options.keyed(replace(engine, small=spec), api_key_env)
        for spec in (described.small, *(compare or ()))
    )
    measurement = Measurement(
        first,
        tuple(one.small for one in others),
        eval_options.modes(mode, described),
        Shares(eval_options.shares(at_share)),
        concurrency,
        processes,
        out,
    )
    asking = Asking(
        seed=seed, samples=samples_per_task, temperature=temperature, max_tokens=max_tokens
    )
    Keyword(rule)
    found = eval_options.tasks(
        name=task, data=data, family=family, split=split, samples=samples, seed=seed
    )
    runner = Runner(
        tasks=eval_options.graded(found, grade),
        asking=asking,
        rule=rule,
        network=options.network(round_trip_ms, large_tokens_per_s),
    )
    _show(*measurement.run(runner), as_json=as_json, out=out)


@dataclass(frozen=True)
class Measurement:
    """A measurement to make.

    Attributes:
        engine: The pair.
        others: More small models to compare.
        modes: Modes to run.
        shares: Offload shares at which modes are compared.
        concurrency: Concurrent answers in this process.
        processes: Processes that answer.
        out: Folder of the report and the journal.

    Raises:
        RequestError: A mode is unknown, or both concurrency and processes are given.
        MissingExtraError: A report needs matplotlib, which is not installed.

    """

    engine: SplitEngine
    others: tuple[ModelSpec, ...]
    modes: tuple[str, ...]
    shares: Shares
    concurrency: int
    processes: int
    out: Path | None

    def __post_init__(self) -> None:
        for mode in self.modes:
            order_of(mode)
        eval_options.check_parallel(self.concurrency, self.processes)
        if self.out is not None:
            check_matplotlib()

    def run(self, runner: Runner) -> tuple[Contest, dict[str, Any]]:
        """Run the measurement and write the report; return figures and context."""
        with ExitStack() as stack:
            if self.out is not None:
                journal = stack.enter_context(Journal(self.out, self._settings(runner)))
                runner = replace(runner, journal=journal)
            if self.processes > 1:
                runner = replace(
                    runner, process_pool=stack.enter_context(ProcessPool(self.processes))
                )
            runner = replace(runner, concurrency=max(self.concurrency, self.processes))
            found = measure(
                lambda progress: contest(
                    replace(runner, progress=progress),
                    self.engine,
                    self.modes,
                    others=self.others,
                    shares=self.shares,
                )
            )
            context = {
                **report.context(options.command_line()),
                "settings": self._settings(runner),
            }
            if self.out is not None:
                write_report(self.out, found, context)
        return found, context

    def _settings(self, runner: Runner) -> Mapping[str, Any]:
        """Return all settings that affect an answer, except models and trigger."""
        engine = settings_of(self.engine)
        # The journal's keys name the models and the trigger.
        for name in ("small", "large", "trigger"):
            engine.pop(name)
        asking = runner.asking
        return {
            "tasks": fingerprint(runner.tasks),
            "n": len(runner.tasks),
            "seed": asking.seed,
            "samples_per_task": asking.samples,
            "temperature": asking.temperature,
            "max_tokens": asking.max_tokens,
            "concurrency": self.concurrency,
            "processes": self.processes,
            "prices": str(getattr(self.engine.large, "prices", None)),
            "engine": engine,
            "version": __version__,
        }


def measure(run: Callable[[Progress], _T]) -> _T:
    """Run a measurement with a progress bar."""
    with progress_bar() as bar:
        task, shown = bar.add_task(""), [""]

        def progress(what: str, done: int, of: int) -> None:
            if what != shown[0]:
                shown[0] = what
                bar.reset(task, description=what, completed=done, total=of)
            bar.update(task, completed=done, total=of)

        return run(progress)


def _show(found: Contest, context: Mapping[str, Any], *, as_json: bool, out: Path | None) -> None:
    if out is not None:
        echo(f"wrote {', '.join(REPORTS)} in {out}", err=True)
    if as_json:
        echo(json.dumps({**found.data(), **context}))
        return
    console = Screen(highlight=False)
    print_table(console, tables.for_terminal(found.results))
    for line in (*tables.missed_shares(found.results), *tables.rules_and_reading(found.results)):
        print_lines(console, line)
    if found.pairs:
        console.print()
        print_table(console, tables.pairs_for_terminal(found.pairs))

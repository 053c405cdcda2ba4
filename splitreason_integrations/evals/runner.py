"""Runs tasks through the engine and adds up what came of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from splitreason_integrations import blocking
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.intervals import wilson
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.policy import Policy
from splitreason_integrations.records import Completion, Message
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.triggers import Always, Entropy, Never, Random, Trigger

MODES = ("base", "small", "large", "split", "random", "entropy")
"""What can be measured: `base` is the embedded small model before it learned the tags."""

_MAX_CALLS = 4
_MATCHING_TASKS = 40
_MATCHING_STEPS = 7

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """One task: whether the answer was right, and the replies it took."""

    right: bool
    replies: tuple[Completion, ...]


@dataclass(frozen=True)
class Result:
    """A mode's figures over all tasks."""

    mode: str
    trigger: str
    outcomes: tuple[Outcome, ...]
    seconds: float
    seed: int

    @property
    def replies(self) -> list[Completion]:
        """All replies of all tasks."""
        return [reply for outcome in self.outcomes for reply in outcome.replies]

    @property
    def accuracy(self) -> float:
        """The share of tasks that were answered right."""
        return sum(outcome.right for outcome in self.outcomes) / len(self.outcomes)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson(sum(outcome.right for outcome in self.outcomes), len(self.outcomes))

    @property
    def tokens(self) -> dict[str, int]:
        """Generated tokens that were kept, by author."""
        return {
            "small": sum(reply.small_tokens for reply in self.replies),
            "large": sum(reply.large_tokens for reply in self.replies),
        }

    @property
    def offload_share(self) -> float:
        """Large-model tokens ÷ all generated tokens, over all tasks together."""
        tokens = self.tokens
        return tokens["large"] / max(1, tokens["small"] + tokens["large"])

    def data(self) -> dict[str, object]:
        """Return the figures as plain data."""
        latencies = sorted(sum(r.latency_s for r in outcome.replies) for outcome in self.outcomes)
        tokens = self.tokens
        return {
            "mode": self.mode,
            "trigger": self.trigger,
            "n": len(self.outcomes),
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "offload_share": self.offload_share,
            "spans": sum(len(reply.spans) for reply in self.replies),
            "tokens": tokens,
            "seconds": self.seconds,
            "tokens_per_s": sum(tokens.values()) / self.seconds,
            "latency_s": {
                "p50": latencies[len(latencies) // 2],
                "p95": latencies[int(0.95 * (len(latencies) - 1))],
            },
            "cost_usd": sum(reply.cost_usd for reply in self.replies),
            "seed": self.seed,
        }


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
    """Return a mode's figures; `random` and `entropy` run at the offload share of `split`.

    `share` gives that share where it is known already. The engine's policy holds for all modes but
    `large`, which is the large model alone.
    """
    if mode not in MODES:
        raise RequestError(f"unknown mode {mode!r}: use one of {', '.join(MODES)}")
    if not tasks:
        raise RequestError("no tasks to run")

    def run(name: str, trigger: Trigger, some: Sequence[Task]) -> Result:
        return _run(name, replace(engine, trigger=trigger), some, seed, max_tokens, progress)

    if mode == "base":
        engine = replace(engine, small="embedded:base")
    if mode == "large":
        engine = replace(engine, policy=Policy(models=engine.policy.models))
    fixed = {"base": Never(), "small": Never(), "large": Always(), "split": engine.trigger}
    if mode in fixed:
        return run(mode, fixed[mode], tasks)
    if share is None:
        share = run("split", engine.trigger, tasks).offload_share
    some = tasks[:: max(1, len(tasks) // _MATCHING_TASKS)]
    trigger = _match(mode, share, lambda one: run(f"match {mode}", one, some).offload_share)
    return run(mode, trigger, tasks)


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
    results: list[Result] = []
    share = None
    for mode in modes:
        result = run_mode(
            mode, engine, tasks, seed=seed, max_tokens=max_tokens, progress=progress, share=share
        )
        share = result.offload_share if mode == "split" else share
        results.append(result)
    return results


def _match(mode: str, share: float, measure: Callable[[Trigger], float]) -> Trigger:
    """Return the baseline trigger whose share comes nearest, by logarithmic bisection."""
    low, high = 1e-4, 1.0 if mode == "random" else 8.0
    found: list[tuple[float, Trigger]] = []
    for _ in range(_MATCHING_STEPS):
        middle = (low * high) ** 0.5
        trigger: Trigger = Random(middle) if mode == "random" else Entropy(middle)
        reached = measure(trigger)
        found.append((abs(reached - share), trigger))
        if (reached > share) == (mode == "random"):
            high = middle
        else:
            low = middle
    return min(found, key=lambda one: one[0])[1]


def _run(
    mode: str,
    engine: SplitEngine,
    tasks: Sequence[Task],
    seed: int,
    max_tokens: int,
    progress: Progress,
) -> Result:
    blocking.run(engine.models)
    started = time.perf_counter()
    outcomes = []
    for done, task in enumerate(tasks):
        progress(mode, done, len(tasks))
        outcomes.append(_answer(engine, task, seed + done, max_tokens))
    progress(mode, len(tasks), len(tasks))
    seconds = time.perf_counter() - started
    return Result(mode, str(engine.trigger), tuple(outcomes), seconds, seed)


def _answer(engine: SplitEngine, task: Task, seed: int, max_tokens: int) -> Outcome:
    """Ask, let the tools answer, ask again, until there is an answer."""
    messages: list[Message] = list(task.messages)
    replies: list[Completion] = []
    for _ in range(_MAX_CALLS):
        reply = ask(engine, messages, task.tools, seed=seed, max_tokens=max_tokens)
        replies.append(reply)
        if not reply.tool_calls:
            return Outcome(task.right(reply.answer), tuple(replies))
        messages.append(_as_message(reply))
        for call in reply.tool_calls:
            result = task.tool_result(call)
            if result is None:
                return Outcome(False, tuple(replies))
            messages.append({"role": "tool", "name": call.name, "content": result})
    return Outcome(False, tuple(replies))


def ask(
    engine: SplitEngine,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    *,
    seed: int,
    max_tokens: int,
) -> Completion:
    """Return the greedy reply to one conversation."""
    request = Request(
        messages=messages,
        tools=tools,
        sampling=Sampling(temperature=0.0),
        max_tokens=max_tokens,
        seed=seed,
    )
    return blocking.run(lambda: engine.complete(request))


def _as_message(reply: Completion) -> Message:
    return {
        "role": "assistant",
        "content": reply.answer,
        "reasoning_content": reply.reasoning,
        "tool_calls": [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.tool_calls
        ],
    }

"""Reproducible samples of problems, split so that no test problem was trained on.

A hash of the prompt decides between train, dev and test. Training problems show no held-out operand
pair, not even in an expansion; test problems have none, or (test-operands) at least one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

from splitreason_integrations.problems.arithmetic import has_held_out_pair, shows_held_out_pair
from splitreason_integrations.problems.chats import chat_problem
from splitreason_integrations.problems.contexts import context_problem
from splitreason_integrations.problems.followups import earlier_exchange
from splitreason_integrations.problems.frameworks import framework_problem
from splitreason_integrations.problems.records import FAMILIES, Family, Message, Problem
from splitreason_integrations.problems.stories import word_problem
from splitreason_integrations.problems.toolcalls import spare_tools, tool_problem
from splitreason_integrations.problems.words import SYSTEM_PROMPTS

GENERATORS = {
    "word": word_problem,
    "context": context_problem,
    "frameworks": framework_problem,
    "tools": tool_problem,
    "chat": chat_problem,
}


class Split(Enum):
    """Split of the problems: training, tuning (dev) or final figures (test, test-operands)."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"
    TEST_OPERANDS = "test-operands"


def sample(split: Split, family: Family, *, seed: int, n: int) -> list[Problem]:
    """Return `n` different problems; equal arguments give equal problems.

    Args:
        split: TEST has unseen problems whose operand pairs may have been seen; TEST_OPERANDS only
            problems with an unseen operand pair.
        family: One of `FAMILIES`; `chat` has no operands, hence no TEST_OPERANDS.
        seed: Seed of the sample.
        n: Number of problems.

    Raises:
        ValueError: The family is unknown, or is chat with TEST_OPERANDS.

    """
    stream = problems(split, family, seed=seed)
    found: dict[str, Problem] = {}
    while len(found) < n:
        problem = next(stream)
        found.setdefault(fingerprint(problem), problem)
    return list(found.values())


def problems(split: Split, family: Family, *, seed: int) -> Iterator[Problem]:
    """Yield problems of a split without end; repetitions are possible.

    Raises:
        ValueError: The family is unknown, or is chat with TEST_OPERANDS.

    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    if family == "chat" and split is Split.TEST_OPERANDS:
        raise ValueError("chat problems have no operands, so there is no test-operands split")
    return _stream(split, family, random.Random(f"{split.value}/{family}/{seed}"))


def _stream(split: Split, family: Family, rng: random.Random) -> Iterator[Problem]:
    while True:
        problem = _with_setting(GENERATORS[family](rng), rng)
        if belongs(problem, split):
            yield problem


def belongs(problem: Problem, split: Split) -> bool:
    """Return whether a problem belongs to a split."""
    bucket = int(fingerprint(problem)[:4], 16) % 10
    if split is Split.DEV:
        return bucket == 8
    if split is Split.TRAIN:
        return bucket < 8 and not any(shows_held_out_pair(step) for step in problem.steps)
    held_out = any(has_held_out_pair(step) for step in problem.steps)
    return bucket == 9 and held_out == (split is Split.TEST_OPERANDS)


def fingerprint(problem: Problem) -> str:
    """Return a hash of the prompt."""
    text = json.dumps([problem.messages, problem.tools], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_setting(problem: Problem, rng: random.Random) -> Problem:
    """Add context of real conversations: system messages, earlier exchanges, unneeded tools."""
    messages: list[Message] = list(problem.messages)
    if problem.family in ("word", "tools") and rng.random() < 0.1:
        earlier = word_problem(rng)
        place = int(messages[0]["role"] == "system")
        answer = {"role": "assistant", "content": earlier.turns[0].content}
        messages[place:place] = [*earlier.messages, answer]
    elif problem.family in ("context", "frameworks") and rng.random() < 0.2:
        place = int(messages[0]["role"] == "system")
        messages[place:place] = earlier_exchange(rng)
    if problem.family == "word" and rng.random() < 0.25:
        messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    tools = problem.tools
    if problem.family in ("word", "context", "chat") and rng.random() < 0.06:
        tools = tuple(tool.schema(rng) for tool in spare_tools(rng, rng.randint(1, 2)))
    return replace(problem, messages=tuple(messages), tools=tools)

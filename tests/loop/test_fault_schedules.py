"""A thousand random schedules of faults and cancellations: every request ends, and adds up."""

import asyncio
import random
import time
from collections import Counter

import pytest

from splitreason_integrations import Author, Policy, Retry, SplitEngine
from splitreason_integrations.engine import Completion
from splitreason_integrations.events import Event
from splitreason_integrations.testing import ScriptedModel
from tests.limits import END_S
from tests.loop.engine_runs import request
from tests.loop.faults import Fault, FaultyModel

SMALL = "One.<bigmodel> Two.<bigmodel> Three.<bigmodel></think>\n\nFour"
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa"
SCHEDULES = 1000
AT_ONCE = 40
DEADLINE_S = 20.0
"""Long for machines that are busy; test_resilience.py has one that is used up."""


def script(rng):
    words = WORDS.split()
    return "".join(f" {' '.join(rng.sample(words, 4))}.</bigmodel>" for _ in range(4))


def faults(rng):
    return [
        Fault(
            rng.randrange(12),
            fatal=rng.random() < 0.3,
            hangs=rng.random() < 0.15,
            slow_s=rng.choice([0, 0, 0, 0.02]),
        )
        for _ in range(rng.randrange(5))
    ]


def engine_of(rng):
    larges = [FaultyModel(script(rng), faults=faults(rng), name=f"large-{n}") for n in range(3)]
    return SplitEngine(
        small=ScriptedModel(SMALL),
        large=larges[: rng.randint(1, 3)],
        retry=Retry(wait_s=0.002, max_wait_s=0.01, stall_s=0.05, attempts=rng.randint(1, 4)),
        policy=Policy(deadline_s=DEADLINE_S),
    )


async def run(rng):
    """Run one schedule; return the items, or None where it was cancelled."""
    some, items = engine_of(rng), []
    started = time.monotonic()

    async def read():
        items.extend([item async for item in some.stream(request(max_tokens=400))])

    task = asyncio.create_task(read())
    cancelled = rng.random() < 0.2
    if cancelled:
        await asyncio.sleep(rng.random() * 0.05)
        task.cancel()
        await asyncio.wait({task})
    else:
        await task
        assert time.monotonic() - started < DEADLINE_S + END_S
    assert all(model.open_sessions == 0 for model in (some.small, *some.large))
    return None if task.cancelled() else check(some, items)


def check(some, items):
    reply = items[-1]
    assert isinstance(reply, Completion)
    assert reply.answer == "Four"
    assert reply.stop_reason == "stop"
    received = Counter(item.name.rpartition(".")[2] for item in items if isinstance(item, Event))
    assert received["finished"] == len(reply.spans)
    assert received["requested"] == len(reply.spans)
    assert sum(span.attempts - 1 for span in reply.spans) == received["retried"]
    assert reply.degraded is (received["failed"] == len(some.large))
    assert received["fell_back"] == received["failed"]
    for number, large in enumerate(some.large):
        written = [
            token
            for piece in reply.pieces
            if piece.writer == (Author.LARGE, number)
            for token in piece.token_ids
        ]
        tags = large.codec.control_token("<bigmodel>"), large.codec.control_token("</bigmodel>")
        whole = [token for token in large.tokens_of(large._reply) if token not in tags]
        assert written == whole[: len(written)], "a token is lost or doubled"
    return received


@pytest.mark.slow
async def test_every_request_ends_and_adds_up():
    rng = random.Random(11)
    seen, ended, cancelled = Counter(), 0, 0
    for _ in range(SCHEDULES // AT_ONCE):
        batch = [run(random.Random(rng.random())) for _ in range(AT_ONCE)]
        for received in await asyncio.gather(*batch):
            ended, cancelled = ended + (received is not None), cancelled + (received is None)
            seen.update(received or {})
    assert ended + cancelled == SCHEDULES
    assert cancelled > 50
    assert min(seen[name] for name in ("retried", "failed", "fell_back")) > 100

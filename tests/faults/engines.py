"""The engine in this process: models that fail, policies, loops that end, clocks that jump."""

import asyncio
import random
import time
from collections import Counter
from contextlib import contextmanager

from tests.faults.kind import Kind
from tests.loop import test_caps, test_fault_schedules

AT_ONCE = 20
LEFT = 5
TEN_YEARS_S = 3.2e8


@contextmanager
def jumping_clock(rng):
    """Let the time of day jump to and fro, whenever it is looked at."""
    real, ahead = time.time, 0.0

    def jumping():
        nonlocal ahead
        if rng.random() < 0.2:
            ahead = rng.uniform(-TEN_YEARS_S, TEN_YEARS_S)
        return real() + ahead

    time.time = jumping
    try:
        yield
    finally:
        time.time = real


class Engines(Kind):
    """Large models that fail, hang or are slow; every request ends, and its tokens add up."""

    name = "models"

    def round(self, rng, folder):
        """Run some requests at once, in an event loop of their own."""
        with jumping_clock(rng):
            outcomes = asyncio.run(_at_once(rng))
        ended = [outcome for outcome in outcomes if outcome is not None]
        counted = sum(ended, Counter())
        return Counter(
            requests=len(outcomes),
            cancelled=len(outcomes) - len(ended),
            faults=counted["retried"] + counted["failed"],
        )


async def _at_once(rng):
    runs = [test_fault_schedules.run(random.Random(rng.random())) for _ in range(AT_ONCE)]
    return await asyncio.gather(*runs)


class Loops(Kind):
    """Event loops that end while requests run in them; no cache is left."""

    name = "loops"

    def round(self, rng, folder):
        """Leave a loop with requests in it, and ask the same engines from the next one."""
        engines = [test_fault_schedules.engine_of(rng) for _ in range(LEFT)]
        asyncio.run(_left(engines, rng.random() * 0.05))
        for engine in engines:
            models = (engine.small, *engine.large)
            assert all(model.open_sessions == 0 for model in models), "a cache is left"
        answers = asyncio.run(_answers(engines))
        assert answers == ["Four"] * LEFT
        return Counter(requests=2 * LEFT, cancelled=LEFT)


async def _left(engines, after_s):
    tasks = [asyncio.create_task(_asked(engine)) for engine in engines]
    await asyncio.sleep(after_s)
    return len(tasks)


async def _asked(engine):
    return (await engine.complete(test_fault_schedules.request(max_tokens=400))).answer


async def _answers(engines):
    return await asyncio.gather(*map(_asked, engines))


class Caps(Kind):
    """Random policies before models that open and write all they can; no cap is exceeded."""

    name = "policies"

    def round(self, rng, folder):
        """Run some requests, each under another policy."""
        with jumping_clock(rng):
            test_caps.test_no_random_policy_is_exceeded_in_the_engine(rng.getrandbits(60))
        return Counter(requests=test_caps.GENERATIONS_A_SEED)

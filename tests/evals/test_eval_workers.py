"""The worker loop: all items are done with bounded concurrency, and failures are raised."""

import asyncio

import pytest

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.workers import at_once


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_everything_is_done_so_much_at_a_time(concurrency):
    done, under_way, most = [], [0], [0]

    async def work(item):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await asyncio.sleep(0)
        under_way[0] -= 1
        done.append(item)

    pace = await at_once(work, range(20), concurrency)
    assert sorted(done) == list(range(20))
    assert most[0] == min(concurrency, 20)
    assert pace.per_s > 0
    assert pace.seconds > 0


async def test_nothing_to_do():
    async def work(item):
        raise AssertionError(item)

    assert (await at_once(work, [], 3)).per_s == 0


async def test_the_first_failure_ends_all_and_is_itself():
    begun = []

    async def work(item):
        begun.append(item)
        await asyncio.sleep(0.01)
        if item == 1:
            raise RequestError("no")
        await asyncio.sleep(10)

    with pytest.raises(RequestError, match="no"):
        await at_once(work, range(100), 3)
    assert len(begun) <= 4

"""A server's dialect is looked for once, however many requests wait for it."""

import asyncio

import pytest

from splitreason_integrations.backends.openai_server import model as openai_server
from splitreason_integrations.backends.openai_server.detect import dialect_of
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.replicas import Replicas
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import embedded_codec


class Looking:
    """Takes detection's place; ends on request."""

    def __init__(self):
        self.begun, self.ended, self.cancelled = [], asyncio.Event(), 0
        self.error = None

    async def __call__(self, replica, served):
        self.begun.append(replica)
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return dialect_of("text", served)


@pytest.fixture
def looking(monkeypatch):
    monkeypatch.setattr(openai_server, "detect", looking := Looking())
    return looking


@pytest.fixture
def model():
    replicas = Replicas([object(), object()])
    return ServerModel(
        replicas, embedded_codec(), model="m", name="m", vocabulary=9, context_tokens=9, speaks=None
    )


async def begun(model, count, replica=0):
    tasks = [
        asyncio.create_task(model.find_dialect(model.replicas.all[replica])) for _ in range(count)
    ]
    await asyncio.sleep(0.01)
    return tasks


async def test_sixty_four_requests_look_once(model, looking):
    first, *others = await begun(model, 64)
    assert len(looking.begun) == 1
    first.cancel()
    await asyncio.wait({first})
    looking.ended.set()
    found = await asyncio.gather(*others)
    assert set(map(id, found)) == {id(model.dialect)}
    assert await model.find_dialect(model.replicas.all[1]) is model.dialect
    assert (len(looking.begun), looking.cancelled) == (1, 0)


async def test_nothing_is_looked_for_where_nobody_waits(model, looking):
    before = asyncio.all_tasks()
    tasks = await begun(model, 3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0.01)
    assert looking.cancelled == 1
    assert asyncio.all_tasks() == before
    looking.ended.set()
    (again,) = await begun(model, 1)
    assert (await again).name == "text"


async def test_a_failure_is_everybodys_and_is_not_kept(model, looking):
    looking.error = ModelCallError("gone", retryable=True)
    tasks = await begun(model, 5)
    looking.ended.set()
    failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(error) for error in failed} == {"gone"}
    looking.error = None
    assert (await model.find_dialect(model.replicas.all[0])).name == "text"
    assert len(looking.begun) == 2


async def test_a_server_that_hangs_holds_up_nobody_who_asks_another(model, looking):
    hanging = await begun(model, 1)
    looking.ended = asyncio.Event()
    looking.ended.set()
    other = await begun(model, 1, replica=1)
    assert (await other[0]) is model.dialect
    hanging[0].cancel()
    await asyncio.wait(hanging)


async def test_what_was_found_first_holds(model, looking):
    slow = await begun(model, 1)
    held, looking.ended = looking.ended, asyncio.Event()
    looking.ended.set()
    known = await model.find_dialect(model.replicas.all[1])
    held.set()
    assert await slow[0] is known
    assert model.dialect is known

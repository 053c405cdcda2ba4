"""The pair on two real vLLM servers; `make test-vllm` runs these."""

import asyncio
import os
import signal
import time
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from splitreason_integrations import (
    Agrees,
    Keyword,
    OpenAIServerModel,
    Policy,
    Random,
    SplitEngine,
    StepEnd,
    Tag,
)
from splitreason_integrations.backends.openai_server.detect import Capabilities
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from splitreason_integrations.request import Request
from tests.backends.capped import capped
from tests.backends.servers import LARGE, load, order, prompt, write
from tests.backends.session_contract import SessionContract
from tests.backends.test_small_server import UNTAUGHT, same
from tests.limits import END_S

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        not has_vllm(),
        reason="make test-vllm builds vLLM's environment",
    ),
    pytest.mark.allow_hosts(["127.0.0.1"]),
]
KEY = "a-key-of-the-test"
PROBLEMS = 100


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The specs of both models: all but the addresses is asked of the servers."""
    logs = tmp_path_factory.mktemp("vllm")
    with (
        vllm_server(path("small"), logs / "small.log", name="small") as small,
        vllm_server(path("large"), logs / "large.log", name="large", key=KEY) as large,
    ):
        small.wait()
        large.wait()
        yield (
            OpenAIServerModel(small.url, "small"),
            OpenAIServerModel(large.url, "large", api_key=KEY),
        )


async def test_both_write_what_both_here_write(pair, record_property):
    tasks = generated("test", ("word", "context"), n=PROBLEMS, seed=8)
    spans = await same(pair, tasks)
    record_property("rate", f"same greedy text on {PROBLEMS} problems with {spans} spans")
    assert spans > PROBLEMS


@pytest.mark.parametrize("trigger", [Tag(threshold=0.1), Random(0.05), Keyword("go")], ids=str)
async def test_other_triggers_fire_at_the_same_places(pair, trigger):
    assert await same(pair, generated("test", ("word",), n=6, seed=6), trigger=trigger) > 5


@pytest.mark.parametrize("dialect", ["ids", "text", "continue"])
async def test_the_reasoning_has_no_token_more_than_its_cap(pair, dialect):
    small = pair[0] if dialect == "ids" else "embedded"
    spoken = replace(pair[1], dialect=dialect)
    assert await capped((small, spoken), generated("test", ("word",), n=3, seed=5)) >= 12


@pytest.mark.parametrize("trigger", UNTAUGHT, ids=str)
async def test_rules_without_training_do_what_they_do_here(pair, trigger):
    tasks = generated("test", ("word",), n=6, seed=6)
    assert await same(pair, tasks, trigger=trigger, close=Agrees() | StepEnd()) > 5


async def test_many_at_once_write_what_each_writes_alone(pair):
    tasks = generated("test", ("word",), n=24, seed=9)
    here, there = SplitEngine(), SplitEngine(small=pair[0], large=pair[1])
    asked = [Request(messages=task.messages, seed=1, max_tokens=300) for task in tasks]
    mine = [await here.complete(one) for one in asked]
    theirs = await asyncio.gather(*(there.complete(one) for one in asked))
    assert [one.pieces for one in theirs] == [one.pieces for one in mine]


@pytest.mark.parametrize("dialect", ["text", "continue"])
async def test_a_large_model_writes_the_same_by_text_and_in_a_chat(pair, dialect):
    spoken = replace(pair[1], dialect=dialect)
    assert (
        await same(("embedded", spoken), generated("test", ("word", "context"), n=12, seed=8)) > 12
    )


async def test_a_small_model_hands_over_and_reads_along_by_text(pair):
    spoken = replace(pair[0], dialect="text")
    assert await same((spoken, "embedded"), generated("test", ("word",), n=8, seed=8)) > 8


async def test_what_it_speaks_and_can_do_is_found(pair):
    model = load(replace(pair[1], name="found"))
    await model.find_dialect(model.replicas.choose())
    assert model.capabilities == Capabilities("ids", "asked", True, "chosen", True, False)
    bare = load(replace(pair[1], tokenizer=LARGE, own_tokenizer=False))
    await bare.find_dialect(bare.replicas.choose())
    assert (bare.capabilities.dialect, bare.capabilities.usage) == ("continue", True)


class TestSessions(SessionContract):
    @pytest.fixture
    def model(self, pair):
        return load(pair[0])


async def running(url):
    """Return how many requests a server is at work on."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(url.replace("/v1", "/metrics"))).text
    lines = [line for line in page.splitlines() if line.startswith("vllm:num_requests_running{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_leaving_ends_the_request_on_the_server(pair):
    session = load(pair[0]).open(prompt())
    async with aclosing(session.write(order(1900))) as parts:
        await anext(parts)
    for _ in range(100):
        if await running(pair[0].url) == 0:
            break
        await asyncio.sleep(0.05)
    assert await running(pair[0].url) == 0
    assert session.length < 1000
    session.close()


@pytest.mark.parametrize(("member", "name", "status"), [(1, "large", 401), (0, "larger", 404)])
async def test_a_wrong_key_and_a_wrong_name_are_reported(pair, member, name, status):
    known = {"tokenizer": LARGE, "context_tokens": 2048}
    session = load(OpenAIServerModel(pair[member].url, name, **known)).open(prompt())
    with pytest.raises(ModelCallError, match=str(status)) as refused:
        await write(session, order())
    assert not refused.value.retryable
    session.close()


async def test_a_killed_server_costs_the_large_model_alone(pair, tmp_path):
    with vllm_server(path("large"), tmp_path / "log", name="large") as server:
        await asyncio.to_thread(server.wait)
        some = SplitEngine(
            small="embedded",
            large=OpenAIServerModel(server.url, "large"),
            policy=Policy(deadline_s=30),
            trigger=Tag(0.1),
        )
        (task,) = generated("test", ("word",), n=1, seed=6)
        started, killed, reply = time.monotonic(), False, None
        asked = Request(messages=task.messages, seed=1, max_tokens=300)
        async with aclosing(some.stream(asked)) as items:
            async for reply in items:
                if not killed and getattr(reply, "author", None) == "large":
                    os.killpg(server.process.pid, signal.SIGKILL)
                    killed = True
        assert killed
        # The deadline, and what the last step of a busy machine takes beyond it.
        assert time.monotonic() - started < 30 + END_S
        assert reply.degraded
        assert reply.stop_reason == "stop"  # the small model may or may not get it right

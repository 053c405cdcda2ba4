"""Several servers of one model: load is shared, and where one fails another one goes on."""

import asyncio
import random
from functools import cache

import httpx
import pytest

from splitreason_integrations import OpenAIServerModel, SplitEngine
from splitreason_integrations.backends.openai_server import replicas as openai_server_replicas
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.replicas import Replicas
from splitreason_integrations.backends.registry import describe, resolve
from splitreason_integrations.errors import ModelCallError, ModelLoadError, UnknownSpecError
from splitreason_integrations.events import HandoffFailed, HandoffRetried
from splitreason_integrations.records import Author, Completion
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.servers import (
    GREEDY,
    NOWHERE,
    chances,
    load,
    order,
    prompt,
    serving,
    spec,
    write,
)
from tests.backends.test_server_faults import SMALL, WORDS, model_of, own_tokens, script
from tests.loop.engine_runs import request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

TWO = ("http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1")
PROMPT = embedded_codec().render(request().messages, None).token_ids
CLOSE = embedded_codec().control_token("</bigmodel>")


@pytest.fixture
def two():
    """Two servers, each with its process."""
    with serving("faulty_server") as first, serving("faulty_server") as second:
        yield first, second


@cache
def server(url):
    return Server(OpenAIServerModel(url, "x"), url)


def servers(*urls):
    """Return servers that outlive a test, as those of a process's models do."""
    return [server(url) for url in urls]


def test_several_addresses_name_replicas():
    named = resolve("http://a/v1/,https://b/v1#m", role="large")
    assert named == OpenAIServerModel("http://a/v1,https://b/v1", "m")
    assert named.urls == ("http://a/v1", "https://b/v1")
    assert describe(named) == "http://a/v1,https://b/v1#m"
    for wrong in ("http://a/v1,#m", "http://a/v1,b/v1#m", "http://a/v1,https://me:x@b/v1#m"):
        with pytest.raises(UnknownSpecError):
            resolve(wrong, role="large")


def test_the_least_loaded_one_is_asked():
    replicas = Replicas(servers(*TWO))
    first, second = replicas.all
    assert replicas.choose() is first
    first.calls = 1
    assert replicas.choose() is second
    assert replicas.choose(first) is first, "its cache is worth a wait"
    first.calls = 4
    assert replicas.choose(first) is second


def test_one_that_failed_rests_the_longer_the_more_often(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(openai_server_replicas.time, "monotonic", lambda: now[0])
    replicas = Replicas(servers(*TWO))
    first, second = replicas.all
    rests = []
    for _ in range(8):
        first.failed()
        assert replicas.choose(first) is second
        rests.append(first.rests_until_s - now[0])
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    second.failed()
    assert not replicas.one_is_ready
    assert replicas.choose() is second, "where all rest, the one that is ready soonest"
    now[0] += 1.0
    assert replicas.one_is_ready
    first.answered()
    assert not first.rests


async def test_a_replica_goes_on_in_the_middle_of_a_span(two):
    (process, first), (_, second) = two
    rng = random.Random(8)
    written = script(rng, rng.sample(WORDS, len(WORDS)))
    large = model_of(servers(first, second), rng, written, [{"kind": "slow", "slow_s": 0.02}])
    items, killed = [], False
    async for item in SplitEngine(small=ScriptedModel(SMALL), large=large).stream(request()):
        items.append(item)
        if not killed and [one for one in items if getattr(one, "author", "") == Author.LARGE]:
            process.kill()
            killed = True
    reply = items[-1]
    assert killed
    assert isinstance(reply, Completion)
    assert (reply.degraded, reply.answer) == (False, "Four")
    assert not [item for item in items if isinstance(item, HandoffFailed | HandoffRetried)]
    tokens = [t for piece in reply.pieces if piece.author is Author.LARGE for t in piece.token_ids]
    assert tokens == own_tokens(written)[: len(tokens)]
    assert len(reply.spans) == 3


async def test_an_answer_cut_off_is_finished_by_another_one(two):
    (_, first), (_, second) = two
    ids = WORDS[:6]
    script = [(token, embedded_codec().decode([token])) for token in ids] + [(CLOSE, "")]
    port = int(first.removesuffix("/v1").rpartition(":")[2])
    for byte in (-1, 0, 300, 600, 900):
        faults = [{"kind": "abort", "byte": byte, "port": port}]
        model = model_of(servers(first, second), random.Random(byte), script, faults)
        session = model.open(PROMPT)
        got, last = await write(session, order(20, stop_tokens=frozenset([CLOSE])))
        assert (got, last.stop_token) == (ids, CLOSE)
        # One that ends before it begins may be a connection kept open for too long: sent again.
        assert session.requests == (1 if byte < 0 else 2)
        session.close()


async def test_where_all_fail_the_call_fails(two):
    (_, first), (_, second) = two
    script = [*((token, "") for token in WORDS[:6]), (CLOSE, "")]
    refusals = [{"kind": "status", "status": 503, "body": "busy"}] * 9
    session = model_of(servers(first, second), random.Random(1), script, refusals).open(PROMPT)
    with pytest.raises(ModelCallError, match="503"):
        await write(session, order(5))
    assert session.requests == 2
    lasting = [{"kind": "status", "status": 400, "body": "no"}] * 9
    session = model_of(servers(first, second), random.Random(2), script, lasting).open(PROMPT)
    with pytest.raises(ModelCallError, match="400"):
        await write(session, order(5))
    assert session.requests == 1


async def test_many_requests_are_shared_out(two):
    (_, first), (_, second) = two
    script = [*((token, embedded_codec().decode([token])) for token in WORDS[:30]), (CLOSE, "")]
    slow = [{"kind": "slow", "slow_s": 0.01}] * 20
    model = model_of(servers(first, second), random.Random(3), script, slow)

    async def one():
        session = model.open(PROMPT)
        await write(session, order(10))
        session.close()

    calls = asyncio.gather(*(one() for _ in range(10)))
    await asyncio.sleep(0.1)
    assert [replica.calls for replica in model.replicas.all] == [5, 5]
    await calls
    assert [replica.calls for replica in model.replicas.all] == [0, 0]
    async with httpx.AsyncClient() as client:
        for url in (first, second):
            state = (await client.get(url.replace("/v1", "/state"))).json()
            assert state == {"active": [], "anomalies": []}


async def test_a_small_model_survives_a_server_that_is_not_there():
    with serving("completions_server", "embedded:small") as (_, url):
        both = spec(f"{NOWHERE},{url}")
        asked = request(max_tokens=200, sampling=GREEDY)
        reply = await SplitEngine(small=both, large="embedded").complete(asked)
        assert reply.pieces == (await SplitEngine().complete(asked)).pieces
        session = load(both).open(prompt())
        session.extend([40, 41])
        assert len(await chances(session, CLOSE, last=2)) == 2
        session.close()
    with pytest.raises(ModelLoadError, match="cannot be reached"):
        load(spec(f"{NOWHERE},{NOWHERE}"))

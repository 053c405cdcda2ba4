"""A large model on a server: the same text as beside it, and a server that is not trusted."""

import asyncio
import json
import time
from contextlib import aclosing

import httpx
import pytest

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import (
    Always,
    Sampling,
    SplitEngine,
    blocking,
)
from splitreason_integrations.backends.base import End
from splitreason_integrations.errors import (
    SessionError,
)
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import NOWHERE, QUESTION, load, order, prompt, serving, spec, write
from tests.limits import END_S

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def url():
    with serving("completions_server", "embedded:large", "--root") as (_, url):
        yield url


async def open_on(url, *, until=0):
    """Return how many sessions the server's model has, once there are `until`."""
    async with httpx.AsyncClient() as client:
        for _ in range(100):
            answer = await client.get(url.replace("/v1", "/state"))
            if answer.json()["open_sessions"] == until:
                break
            await asyncio.sleep(0.02)
        return answer.json()["open_sessions"]


@pytest.mark.slow
async def test_the_same_text_as_with_both_models_here(url):
    here, there = SplitEngine(), SplitEngine(small="embedded", large=spec(url))
    tasks = generated("test", ("word", "context"), n=24, seed=3)
    large_tokens = 0
    for task in tasks:
        asked = Request(messages=task.messages, tools=task.tools, seed=1, max_tokens=400)
        mine, theirs = await here.complete(asked), await there.complete(asked)
        assert theirs.pieces == mine.pieces
        assert (theirs.answer, theirs.stop_reason) == (mine.answer, mine.stop_reason)
        assert [span.tokens for span in theirs.spans] == [span.tokens for span in mine.spans]
        assert not theirs.degraded
        large_tokens += theirs.large_tokens
    assert large_tokens > 100


async def test_the_large_model_alone_writes_one_long_answer(url):
    asked = Request(messages=[{"role": "user", "content": "How many are 3 pens and 4 pens?"}])
    here = await SplitEngine(trigger=Always()).complete(asked)
    there = await SplitEngine(trigger=Always(), small="embedded", large=spec(url)).complete(asked)
    assert there.pieces == here.pieces


async def test_a_session_writes_what_a_local_one_writes(url, embedded):
    served, local = load(spec(url)).open(prompt()), embedded[1].open(prompt())
    for tokens in (5, 1, 12):
        assert (await write(served, order(tokens)))[0] == (await write(local, order(tokens)))[0]
    for session in (served, local):
        session.truncate(session.length - 3)
        session.extend(embedded_codec().encode(" So"))
    assert served.unread == local.unread == len(embedded_codec().encode(" So"))
    expected = await write(local, order(6))
    assert (await write(served, order(6)))[0] == expected[0]
    assert served.token_ids == local.token_ids
    assert served.read == local.read
    served.close()
    local.close()


async def test_a_stop_token_is_not_kept(url):
    model = load(spec(url))
    session = model.open(prompt())
    free, _ = await write(session, order(6))
    session.truncate(len(prompt()))
    ids, last = await write(session, order(6, stop_tokens=frozenset([free[3]])))
    assert ids == free[: free.index(free[3])]
    assert (last.end, last.stop_token) == (End.STOP_TOKEN, free[3])
    session.truncate(len(prompt()))
    ids, last = await write(session, order(1500, stop_tokens=model.codec.end_tokens))
    assert last.stop_token in model.codec.end_tokens
    assert not set(ids) & model.codec.end_tokens
    session.close()


async def test_forbidden_tokens_are_not_written(url):
    session = load(spec(url)).open(prompt())
    free, _ = await write(session, order(6))
    session.truncate(len(prompt()))
    ids, _ = await write(session, order(6, forbidden=tuple(set(free))))
    assert not set(ids) & set(free)
    session.close()


async def test_the_seed_decides(url):
    hot = Sampling(temperature=3.0, top_p=0.99, min_p=0.001)
    texts = []
    for seed in (1, 1, 2, 3):
        session = load(spec(url)).open(prompt())
        texts.append((await write(session, order(30, sampling=hot, seed=seed)))[0])
        session.close()
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) > 1


async def test_leaving_ends_the_request_on_the_server(url):
    session = load(spec(url)).open(prompt())
    async with aclosing(session.write(order(1500))) as parts:
        await anext(parts)
        assert await open_on(url, until=1) == 1
    assert await open_on(url) == 0
    reading = asyncio.create_task(write(session, order(1500)))
    assert await open_on(url, until=1) == 1
    reading.cancel()
    await asyncio.wait({reading})
    assert await open_on(url) == 0
    session.close()


async def test_closing_a_session_ends_its_writing(url):
    model = load(spec(url))
    session = model.open(prompt())
    reading = asyncio.create_task(write(session, order(1500)))
    assert await open_on(url, until=1) == 1
    session.close()
    with pytest.raises(SessionError, match="closed"):
        await asyncio.wait_for(reading, END_S)
    assert model.open_sessions == 0
    assert await open_on(url) == 0


async def test_the_deadline_ends_the_writing(url):
    session = load(spec(url)).open(prompt())
    before = session.requests
    _, last = await write(session, order(deadline_s=time.monotonic() - 1))
    assert (last.end, session.requests) == (End.DEADLINE, before)
    ids, last = await write(session, order(1500, deadline_s=time.monotonic() + 0.1))
    assert last.end is End.DEADLINE
    assert session.token_ids[len(prompt()) :] == ids
    assert await open_on(url) == 0
    session.close()


async def test_a_full_context_ends_the_writing(url):
    model = load(spec(url, context_tokens=len(prompt()) + 4))
    session = model.open(prompt())
    ids, last = await write(session, order(50))
    assert (len(ids), last.end) == (4, End.LENGTH)
    assert (await write(session, order(50)))[1].end is End.LENGTH
    session.close()


def test_every_event_loop_has_connections_of_its_own(url):
    model = load(spec(url))

    async def one():
        session = model.open(prompt())
        ids, _ = await write(session, order(4))
        session.close()
        return ids

    expected = blocking.run(one)
    assert [asyncio.run(one()) for _ in range(3)] == [expected] * 3
    assert blocking.run(one) == expected
    open_loops = [loop for loop in model.replicas.all[0].server._sessions if not loop.is_closed()]
    assert len(open_loops) == 1


def test_connections_are_used_again(url):
    model = load(spec(url))

    async def several():
        session = model.open(prompt())
        for _ in range(4):
            await write(session, order(4))
        session.close()
        server = model.replicas.all[0].server
        kept = server._sessions[asyncio.get_running_loop()].session.connector._conns
        return sum(map(len, kept.values()))

    assert asyncio.run(several()) == 1


async def test_both_frameworks_take_a_server(url):
    here, there = SplitReasonLLM(seed=1), SplitReasonLLM(seed=1, small="embedded", large=spec(url))
    assert (await there.ainvoke(QUESTION)).content == here.invoke(QUESTION).content
    reply = await asyncio.to_thread(there.invoke, QUESTION)
    assert reply.response_metadata["splitreason"]["tokens"]["large"] > 0
    other = LlamaIndexLLM(seed=1, small="embedded", large=spec(url))
    assert other.complete(QUESTION).text == LlamaIndexLLM(seed=1).complete(QUESTION).text


def test_the_command_takes_a_server(url, run):
    done = json.loads(
        run("ask", QUESTION, "--json", "--small", "embedded", "--large", f"{url}#large").out
    )
    assert done["answer"]
    nowhere = f"{NOWHERE}#x"
    alone = run("ask", QUESTION, "--small", "embedded", "--large", nowhere)
    assert alone.out.strip()
    assert f"{nowhere} failed: ModelUnreachableError" in alone.err
    refused = run("ask", QUESTION, "--small", nowhere, "--large", "embedded", status=2)
    assert "cannot be reached" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


async def test_no_proxy_stands_between_processes_of_one_machine(url, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    session = load(spec(url, context_tokens=2000)).open(prompt())
    assert len((await write(session, order(2)))[0]) == 2
    session.close()

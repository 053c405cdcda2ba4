"""Many requests at once on real vLLM servers, one of which is killed; `make test-vllm` runs it."""

import asyncio
import os
import signal
from contextlib import ExitStack, aclosing

import pytest

from splitreason_integrations import OpenAIServerModel, Sampling, SplitEngine, TagClose
from splitreason_integrations.embedded import path
from splitreason_integrations.evals import load, servers
from splitreason_integrations.evals.reading_cost import reading_cost
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from splitreason_integrations.records import Author
from splitreason_integrations.request import Request
from tests.backends.servers import load as model_of

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
]
AT_ONCE = 64


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A small model's server and two of one large model."""
    logs = tmp_path_factory.mktemp("vllm")
    with ExitStack() as stack:
        started = [
            stack.enter_context(vllm_server(path(member), logs / f"{at}.log", name=member))
            for at, member in enumerate(("small", "large", "large"))
        ]
        for server in started:
            server.wait()
        yield started


def asked(task):
    return Request(
        messages=task.messages, seed=1, max_tokens=200, sampling=Sampling(temperature=0.0)
    )


async def test_both_ways_are_measured_in_one_run(three):
    models = tuple(
        model_of(OpenAIServerModel(server.url, name))
        for server, name in zip(three, ("small", "large"), strict=False)
    )
    noted = []
    tasks = generated("test", ("word", "context"), n=6, seed=12)

    def note(what, done, of):
        noted.append((what, done, of))

    answers = await servers.against_the_published_flow(models, tasks, note)
    assert answers["same_text"] >= 5
    assert answers["ours"]["requests_an_answer"] < answers["published"]["requests_an_answer"]
    spans = await servers.long_spans(models, tasks[:3], note)
    assert spans["requests"]["published"] == 20
    assert spans["requests_ratio"] <= 0.3
    found = await load.under_load(models, tasks, concurrency=4, max_tokens=200, on_progress=note)
    assert found["degraded"] == 0
    assert {what for what, _, _ in noted} > {"answers", "long spans", "answers at once"}
    assert all(0 < ratio < 2 for ratio in found["ideal_ratio"].values())
    assert 0 < found["in_turn_ratio"] < 2
    read = await reading_cost(models, tasks, note)
    for row in read["rows"]:
        assert (row["chunk_tokens"] > 0) is ("disagreement" in row["trigger"])
        assert row["accuracy"] > 0.5
    alone = await servers.against_the_published_flow(models, tasks, note, close=TagClose(1.0))
    assert alone["ours"]["requests_an_answer"] < answers["ours"]["requests_an_answer"]


async def test_a_large_replica_that_is_killed_under_load_costs_no_token(three):
    small, *large = (server.url for server in three)
    tasks = generated("test", ("word", "context"), n=AT_ONCE, seed=21)
    engine = SplitEngine(
        small=OpenAIServerModel(small, "small"),
        large=OpenAIServerModel(",".join(large), "large"),
    )
    in_span, killed = 0, asyncio.Event()

    async def reply_to(task):
        nonlocal in_span
        item = None
        async with aclosing(engine.stream(asked(task))) as items:
            async for item in items:
                in_span += getattr(item, "author", None) is Author.LARGE
                if in_span > AT_ONCE // 2 and not killed.is_set():
                    killed.set()
                    os.killpg(three[1].process.pid, signal.SIGKILL)
        return item

    replies = await asyncio.gather(*(reply_to(task) for task in tasks))
    assert killed.is_set()
    here = SplitEngine()
    for task, reply in zip(tasks, replies, strict=True):
        mine = await here.complete(asked(task))
        assert reply.pieces == mine.pieces
        assert not reply.degraded
    assert sum(len(reply.spans) for reply in replies) > AT_ONCE

"""A small model on a server: it hands over, reads along and hands back as one here does."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from splitreason_integrations import (
    Agrees,
    Confidence,
    Disagreement,
    Entropy,
    Keyword,
    Random,
    Sampling,
    SplitEngine,
    StepEnd,
    Tag,
)
from splitreason_integrations.backends.base import End, Verdict
from splitreason_integrations.backends.lookahead import DraftStats
from splitreason_integrations.backends.openai_server import session as server_session
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from splitreason_integrations.testing import embedded_codec
from tests.backends.capped import capped
from tests.backends.large_work import NEVER, LargeWork, disagreeing
from tests.backends.servers import (
    chances,
    load,
    order,
    prompt,
    serving,
    serving_pair,
    spec,
    write,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

OPEN = embedded_codec().control_token("<bigmodel>")
CLOSE = embedded_codec().control_token("</bigmodel>")


@pytest.fixture(scope="module")
def pair():
    """The specs of both models on servers of their own."""
    with serving_pair() as both:
        yield both


UNTAUGHT = [Disagreement(0.1), Confidence(0.5)]
"""Triggers that need no training; a server's entropy is that of the likeliest tokens alone."""


async def same(pair, tasks, **settings):
    """Return how many spans there were where both places write the same."""
    here = SplitEngine(**settings)
    there = SplitEngine(small=pair[0], large=pair[1], **settings)
    spans = 0
    for task in tasks:
        asked = Request(messages=task.messages, tools=task.tools, seed=1, max_tokens=300)
        mine, theirs = await here.complete(asked), await there.complete(asked)
        assert theirs.pieces == mine.pieces
        assert [span.closed_by for span in theirs.spans] == [span.closed_by for span in mine.spans]
        spans += len(mine.spans)
    return spans


async def test_both_on_servers_write_what_both_here_write(pair):
    tasks = generated("test", ("word", "context"), n=12, seed=5)
    assert await same(pair, tasks) > 10


@pytest.mark.parametrize("trigger", [Tag(threshold=0.1), Random(0.05), Keyword("go")], ids=str)
async def test_other_triggers_fire_at_the_same_places(pair, trigger):
    tasks = generated("test", ("word",), n=3, seed=6)
    assert await same(pair, tasks, trigger=trigger) >= 3


async def test_the_reasoning_has_no_token_more_than_its_cap(pair):
    tasks = generated("test", ("word",), n=2, seed=5)
    assert await capped(pair, tasks) >= 8
    assert await capped(pair, tasks, caps=(9,), trigger=Disagreement(0.1)) == 2


@pytest.mark.parametrize("trigger", UNTAUGHT, ids=str)
async def test_rules_without_training_do_what_they_do_here(pair, trigger):
    tasks = generated("test", ("word",), n=3, seed=6)
    assert await same(pair, tasks, trigger=trigger, close=Agrees() | StepEnd()) >= 3


async def test_entropy_opens_spans_on_a_server(pair):
    (task,) = generated("test", ("word",), n=1, seed=6)
    asked = Request(messages=task.messages, seed=1, max_tokens=300)
    split = SplitEngine(
        small=pair[0], large=pair[1], trigger=Entropy(0.7), close=Agrees() | StepEnd()
    )
    reply = await split.complete(asked)
    assert {span.closed_by for span in reply.spans} == {"(agrees | step)"}


@pytest.mark.parametrize("trigger", [Disagreement(0.1), Tag() | Disagreement(0.1), NEVER], ids=str)
async def test_a_server_reads_a_chunk_in_one_request(pair, monkeypatch, trigger):
    async def asked_for():
        async with httpx.AsyncClient() as client:
            state = await client.get(pair[1].url.replace("/v1", "/state"))
        return state.json()["requests"]

    large = load(pair[1])
    # What the server can do is asked with the first request.
    first = large.open(prompt())
    await write(first, order(1))
    first.close()
    work, before = LargeWork(large, monkeypatch), len(await asked_for())
    replies = await disagreeing("embedded", large, trigger)
    work.check(replies)
    asked = (await asked_for())[before:]
    scoring = [one for one in asked if isinstance(one["prompt"][0], list)]
    assert len(scoring) == work.chunks
    assert {one["max_tokens"] for one in scoring} == {1}
    assert len(asked) - len(scoring) == work.writings == sum(len(one.spans) for one in replies)
    for one in scoring:
        last = one["prompt"][-1]
        assert all(prefix == last[: len(prefix)] for prefix in one["prompt"])


async def test_reading_along_gives_what_a_local_model_gives(pair, embedded):
    served, local = load(pair[0]).open(prompt()), embedded[0].open(prompt())
    for session in (served, local):
        await write(session, order(3))
        session.extend(embedded_codec().encode(" So 47*23 = 1081"))
    found = await chances(served, CLOSE)
    # The last token of one's own is pending in a cache here, and nowhere on a server.
    expected = (await chances(local, CLOSE))[-len(found) :]
    assert len(found) == served.length - len(prompt()) - 3
    assert found == pytest.approx(expected, abs=1e-6)
    assert served.read == local.read
    assert served.requests == 2
    for session in (served, local):
        session.extend([40, 41, 42])
    expected = await chances(local, CLOSE, last=2)
    assert await chances(served, CLOSE, last=2) == pytest.approx(expected, abs=1e-6)
    assert await chances(served, CLOSE) == pytest.approx(expected[-1:], abs=1e-6)
    served.close()
    local.close()


def trusted(some_spec):
    """Return a model of which nothing is known yet of whether its drafts are useful."""
    model = load(some_spec)
    model.draft_stats = DraftStats()
    return model


async def test_where_others_write_what_one_would_reading_costs_one_request(pair, embedded):
    own, _ = await write(embedded[0].open(prompt()), order(40))
    session = trusted(pair[0]).open(prompt())
    await write(session, order(1))
    session.look_ahead(CLOSE)
    for at in range(1, 40, 3):
        session.extend(own[at : at + 3])
        found = await chances(session, CLOSE, last=3)
        assert len(found) == 3
        session.look_ahead(CLOSE)
    assert session.requests == 2
    session.close()


async def test_a_draft_that_fails_costs_no_reading(pair, monkeypatch):
    async def failing(*_):
        raise ModelCallError("the server is gone", retryable=True)

    session, plain = trusted(pair[0]).open(prompt()), load(pair[0]).open(prompt())
    for one in (session, plain):
        await write(one, order(1))
    monkeypatch.setattr(server_session, "read_draft", failing)
    session.look_ahead(CLOSE)
    for one in (session, plain):
        one.extend([40, 41])
    found = await chances(session, CLOSE)
    assert found == await chances(plain, CLOSE)
    assert session.requests == plain.requests + 1
    session.close()
    plain.close()


async def test_a_pair_that_seldom_agrees_is_seldom_drafted(pair):
    session = trusted(pair[0]).open(prompt())
    await write(session, order(1))
    for _ in range(20):
        session.look_ahead(CLOSE)
        session.extend([40, 41])
        await chances(session, CLOSE)
        session.truncate(session.length - 1)
    assert session.requests == 1 + 20 + 3
    session.close()


class Deciding:
    """A watch that refuses some tokens, and stops at a place."""

    probability_of = OPEN
    wants_entropy = False
    wants_confidence = False

    def __init__(self, refused=(), stop_at=None):
        self.refused = refused
        self.stop_at = stop_at
        self.seen = []

    def __call__(self, token_id, *, index, probability, entropy, confidence):
        self.seen.append((index, token_id, round(probability, 5)))
        if token_id in self.refused:
            return Verdict.REFUSE
        return Verdict.STOP if index == self.stop_at else Verdict.KEEP


async def test_a_watch_sees_what_it_would_see_here(pair, embedded):
    for settings in ({}, {"stop_at": 3}, {"refused": (676, 675, 652)}):
        ends, seen = [], []
        for model in (load(pair[0]), embedded[0]):
            session, watch = model.open(prompt()), Deciding(**settings)
            ids, last = await write(session, order(9, watch=watch))
            ends.append((ids, last.end, session.token_ids))
            seen.append(watch.seen)
            session.close()
        assert ends[0] == ends[1]
        assert seen[0] == seen[1]
        assert len(seen[0]) > len(ends[0][0]) or ends[0][1] is End.LENGTH


async def test_a_cancelled_reading_leaves_nothing_behind(pair):
    model = load(pair[0])
    session = model.open(prompt())
    session.extend([40] * 200)
    reading = asyncio.create_task(chances(session, CLOSE))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert not (await model.replicas.all[0].server._session()).connector._acquired
    session.close()


async def test_a_server_that_gives_no_probabilities_is_named():
    script = [[token, embedded_codec().decode([token])] for token in range(300, 310)]
    asked = {"id": "x", "script": script, "faults": [], "grouping": [1]}
    with serving("faulty_server") as (_, url):
        silent = load(replace(spec(url), model=json.dumps(asked), context_tokens=2048))
        session = silent.open(prompt())
        with pytest.raises(ModelCallError, match="does not give log probabilities"):
            await write(session, order(4, watch=Deciding(), sampling=Sampling(temperature=0.0)))
        session.extend([40, 41])
        with pytest.raises(ModelCallError):
            await chances(session, CLOSE)
        session.close()

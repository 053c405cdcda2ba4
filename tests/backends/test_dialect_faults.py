"""Servers that speak text or chats, and fail: every request ends, no token is lost or doubled."""

import asyncio
import itertools
import json
import random
from contextlib import ExitStack

import pytest

from splitreason_integrations import Author, Retry, SplitEngine
from splitreason_integrations.backends.base import End
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.replicas import Replicas
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import ScriptedModel
from tests.backends.faulty_server import INSTEAD, TEXT_CHANGES
from tests.backends.servers import order
from tests.backends.test_server_faults import (
    ASKED_WAITS,
    CLOSE,
    CODEC,
    SMALL,
    WORDS,
    Pool,
    check_servers,
    own_tokens,
    request_prompt,
    script,
)
from tests.loop.engine_runs import request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

DIALECTS = ("text", "continue", "prefix", "trailing", "plain")
SPOILT = [*TEXT_CHANGES, *(how for how in INSTEAD if how != "no ids")]
SCHEDULES = 40
NUMBERS = itertools.count()
# Some tokens are never chosen for the text that they are: text does not come back as those.
TOKENS = [token for token in WORDS if CODEC.encode(CODEC.decode([token])) == [token]]


@pytest.fixture(scope="module")
def pool():
    with ExitStack() as stack:
        some = Pool(stack)
        some.start()
        yield some


def model_of(servers, written, faults, *, speaks, grouping=(1,)):
    asked = {
        "id": f"{speaks} {next(NUMBERS)}",
        "script": written,
        "faults": faults,
        "grouping": grouping,
    }
    size = {"vocabulary": 1024, "context_tokens": 2048, "taught": True}
    return ServerModel(
        Replicas(servers), CODEC, model=json.dumps(asked), name=speaks, speaks=speaks, **size
    )


def fault(rng):
    kind = rng.choice(["none", "status", "hang", "abort", "close", "slow", "spoil", "spoil"])
    if kind == "status":
        asked = rng.choice(ASKED_WAITS)
        headers = {} if asked is None else {"Retry-After": asked}
        return {"kind": kind, "status": rng.choice([429, 500, 400]), "headers": headers, "body": ""}
    if kind in ("hang", "abort", "close"):
        return {"kind": kind, "byte": rng.choice([-1, 0, rng.randrange(1500)])}
    if kind == "slow":
        return {"kind": kind, "slow_s": 0.01}
    return {"kind": kind, "event": rng.randrange(4), "how": rng.choice(SPOILT)}


async def run(pool, rng, speaks):
    """Return the events' names of one schedule, which ends as it must."""
    tokens = rng.sample(TOKENS, len(TOKENS))
    scripts = [script(rng, tokens) for _ in range(2)]
    larges = [
        model_of(
            pool.servers[number : number + rng.randint(1, 2)],
            written,
            [fault(rng) for _ in range(rng.randrange(5))],
            speaks=speaks,
            grouping=rng.choice([[1], [2, 1], [3], [0, 1], [40]]),
        )
        for number, written in enumerate(scripts)
    ]
    engine = SplitEngine(
        small=ScriptedModel(SMALL),
        large=larges,
        retry=Retry(wait_s=0.002, max_wait_s=0.01, stall_s=0.5, attempts=rng.randint(1, 4)),
        policy=Policy(deadline_s=100.0),
    )
    items = [item async for item in engine.stream(request(max_tokens=400))]
    reply = items[-1]
    assert reply.answer == "Four"
    assert all(model.open_sessions == 0 for model in larges)
    for number, written in enumerate(scripts):
        whole = own_tokens(written)
        mine = [
            token
            for piece in reply.pieces
            if piece.writer == (Author.LARGE, number)
            for token in piece.token_ids
        ]
        # Text that a failure cuts within a token may go on in other tokens: the text is the same.
        assert CODEC.decode(whole).startswith(CODEC.decode(mine)), "text is lost or doubled"
    return [getattr(item, "name", "").rpartition(".")[2] for item in items], reply


@pytest.mark.parametrize("speaks", DIALECTS)
async def test_every_request_ends_and_adds_up(pool, speaks):
    rng, names_seen, tokens = random.Random(31), [], 0
    for _ in range(SCHEDULES // 10):
        batch = [run(pool, random.Random(rng.random()), speaks) for _ in range(10)]
        for names, reply in await asyncio.gather(*batch):
            names_seen += names
            tokens += reply.large_tokens
    assert tokens > SCHEDULES
    assert names_seen.count("retried") > 10
    assert names_seen.count("failed") > 5
    await check_servers(pool)


@pytest.mark.parametrize("speaks", DIALECTS)
async def test_an_answer_cut_at_any_byte_loses_and_doubles_nothing(pool, speaks):
    rng = random.Random(5)
    written = script(rng, rng.sample(TOKENS, len(TOKENS)))
    settings = {"small": ScriptedModel(SMALL), "retry": Retry(wait_s=0.0)}
    sound = model_of(pool.servers[:1], written, [], speaks=speaks)
    whole = await SplitEngine(large=sound, **settings).complete(request())
    assert whole.large_tokens > 3

    async def cut(byte):
        faults = [{"kind": rng.choice(["abort", "close"]), "byte": byte}]
        some = model_of(pool.servers[byte % 2 :][:1], written, faults, speaks=speaks)
        reply = await SplitEngine(large=some, **settings).complete(request())
        assert (reply.pieces, reply.degraded) == (whole.pieces, False)
        return sum(span.attempts for span in reply.spans)

    attempts = await asyncio.gather(*(cut(byte) for byte in range(0, 600, 12)))
    assert attempts.count(len(whole.spans) + 1) > 5, "some cuts were met"


@pytest.mark.parametrize("speaks", DIALECTS)
async def test_an_answer_that_fails_at_any_event_is_gone_on_with_as_it_was(pool, speaks):
    rng = random.Random(5)
    written = script(rng, rng.sample(TOKENS, len(TOKENS)))
    settings = {"small": ScriptedModel(SMALL), "retry": Retry(wait_s=0.0)}
    sound = model_of(pool.servers[:1], written, [], speaks=speaks)
    whole = await SplitEngine(large=sound, **settings).complete(request())
    first = [token for token, _ in written].index(CLOSE)
    for event in range(first + 1):
        # The last of them is where all is said but the end of the span.
        faults = [{"kind": "spoil", "event": event, "how": "no json"}]
        some = model_of(pool.servers[:1], written, faults, speaks=speaks)
        reply = await SplitEngine(large=some, **settings).complete(request())
        assert [span.attempts for span in reply.spans] == [2, 1, 1]
        assert reply.pieces == whole.pieces


@pytest.mark.parametrize("speaks", DIALECTS)
async def test_a_server_that_writes_on_and_on_is_cut(pool, speaks):
    written = [[token, CODEC.decode([token])] for token in TOKENS] + [[CLOSE, ""]]
    model = model_of(pool.servers[:1], written, [], speaks=speaks, grouping=(500,))
    session = model.open(request_prompt())
    got = [part async for part in session.write(order(7, stop_tokens=frozenset([CLOSE])))]
    assert sum(len(part.token_ids) for part in got) == 7
    assert got[-1].end is End.LENGTH
    session.close()


@pytest.mark.parametrize("how", ["types", "finish", "error", "no json", "deep", "long"])
@pytest.mark.parametrize("speaks", ["text", "plain"])
async def test_what_no_server_should_say_is_named(pool, speaks, how):
    rng = random.Random(4)
    written = script(rng, rng.sample(TOKENS, len(TOKENS)))
    faults = [{"kind": "spoil", "event": 0, "how": how}]
    session = model_of(pool.servers[:1], written, faults, speaks=speaks).open(request_prompt())
    with pytest.raises(ModelCallError) as failed:
        async for _ in session.write(order(7)):
            pass
    assert speaks in str(failed.value) or pool.urls[0] in str(failed.value)
    session.close()

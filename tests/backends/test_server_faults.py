"""A thousand random schedules of faults on the wire: every request ends, and adds up.

Whatever a server does, a request ends within its deadline with the small model's answer, no token
that was received is lost or doubled, and the audit log says what the events say.
"""

import asyncio
import json
import random
import re
import socket
import time
from collections import Counter
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field

import httpx
import pytest

from splitreason_integrations import (
    AuditLog,
    Author,
    OpenAIServerModel,
    Policy,
    Retry,
    ServerLimits,
    SplitEngine,
)
from splitreason_integrations.audit.checking import read, verify
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.replicas import Replicas
from splitreason_integrations.engine import Completion
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.events import Event
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.faulty_server import CHANGES, INSTEAD
from tests.backends.servers import chances, order, serving
from tests.limits import END_S
from tests.loop.engine_runs import request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SMALL = "One.<bigmodel> Two.<bigmodel> Three.<bigmodel></think>\n\nFour"
SCHEDULES = 1000
AT_ONCE = 25
KILLS = 8
DEADLINE_S = 20.0
"""Long for machines that are busy; one test below has one that is used up."""

CODEC = embedded_codec()
CLOSE = CODEC.control_token("</bigmodel>")
STATUSES = [429, 429, 500, 503, 408, 400, 401, 404, 301]
ASKED_WAITS = [None, "0", "0.01", "3600", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]
SPOILT = [*CHANGES, *INSTEAD]


def words():
    """Return ids that are a word each and stand in no other text of these tests."""
    taken = set(CODEC.encode(SMALL)) | set(CODEC.render(request().messages, None).token_ids)
    texts = {token: CODEC.decode([token]) for token in range(1024)}
    return [t for t, said in texts.items() if re.fullmatch(r" [a-z]+", said) and t not in taken]


WORDS = words()
PROMPT = CODEC.render(request().messages, None).token_ids


def request_prompt():
    return CODEC.render(request().messages, None)


def script(rng, tokens):
    """Return four spans of some tokens each, every one of them once."""
    written = []
    for _ in range(4):
        span = [tokens.pop() for _ in range(rng.randint(1, 12))]
        written += [*((token, CODEC.decode([token])) for token in span), (CLOSE, "")]
    return written


def fault(rng):
    kind = rng.choice(["none", "none", "status", "hang", "abort", "close", "slow", "spoil"])
    if rng.random() < 0.02:
        kind = "chatter"
    if kind == "status":
        asked = rng.choice(ASKED_WAITS)
        return {
            "kind": kind,
            "status": rng.choice(STATUSES),
            "headers": {} if asked is None else {"Retry-After": asked},
            "body": rng.choice(["", "x", '{"error": {"message": "busy"}}', "\x1b[31m<html>"]),
            "huge": rng.random() < 0.05,
        }
    if kind in ("hang", "abort", "close"):
        return {"kind": kind, "byte": rng.choice([-1, 0, rng.randrange(3000)])}
    if kind == "slow":
        return {"kind": kind, "slow_s": 0.01}
    return {"kind": kind, "event": rng.randrange(4), "how": rng.choice(SPOILT)}


@dataclass
class Pool:
    """Server processes, what is asked of them, and one that is killed and started anew."""

    stack: ExitStack
    urls: list[str] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    kills: int = 0

    def start(self):
        for _ in range(2):
            _, url = self.stack.enter_context(serving("faulty_server"))
            self.urls.append(url)
        self.victim, url = self.stack.enter_context(serving("faulty_server"))
        self.port = url.removesuffix("/v1").rpartition(":")[2]
        self.urls.append(url)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        self.servers = [Server(OpenAIServerModel(url, "x"), url) for url in (*self.urls, nobody)]

    def choose(self, rng):
        """Return one server, or several that are replicas of each other."""
        chosen = rng.choices(range(4), [4, 4, 3, 1], k=rng.choice([1, 1, 2, 3]))
        return [self.servers[at] for at in sorted(set(chosen))]

    async def kill_again_and_again(self):
        while True:
            await asyncio.sleep(0.8)
            if self.kills < KILLS:
                self.victim.kill()
                await asyncio.to_thread(self.victim.wait)
                starting = serving("faulty_server", self.port)
                self.victim, _ = await asyncio.to_thread(self.stack.enter_context, starting)
                self.kills += 1


@pytest.fixture(scope="module")
def pool():
    with ExitStack() as stack:
        some = Pool(stack)
        some.start()
        yield some


def model_of(servers, rng, written, faults, *, grouping=(1,), name="large"):
    counted = {"id": f"{rng.random()}", "script": written, "faults": faults, "grouping": grouping}
    size = {"vocabulary": 1024, "context_tokens": 2048}
    given = {"model": json.dumps(counted), "name": name, "taught": True, **size}
    return ServerModel(Replicas(servers), CODEC, **given)


def own_tokens(written):
    return [token for token, _ in written if token != CLOSE]


def large(pool, rng, tokens, number):
    written = script(rng, tokens)
    faults = [fault(rng) for _ in range(rng.randrange(6))]
    grouping = rng.choice([[1], [1], [2, 1], [3], [0, 1], [40]])
    servers, name = pool.choose(rng), f"large-{number}"
    model = model_of(servers, rng, written, faults, grouping=grouping, name=name)
    return model, own_tokens(written)


def engine_of(pool, rng, log):
    tokens = rng.sample(WORDS, len(WORDS))
    larges = [large(pool, rng, tokens, number) for number in range(rng.randint(1, 3))]
    some = SplitEngine(
        small=ScriptedModel(SMALL),
        large=[model for model, _ in larges],
        retry=Retry(wait_s=0.002, max_wait_s=0.01, stall_s=0.2, attempts=rng.randint(1, 4)),
        policy=Policy(deadline_s=DEADLINE_S),
        audit=log,
    )
    return some, [ids for _, ids in larges]


@dataclass
class Outcome:
    """What came of one schedule."""

    asked: str
    items: list
    cancelled: bool = False
    counted: Counter = field(default_factory=Counter)


async def run(pool, rng, log):
    """Run one schedule to its end, or until it is cancelled or left."""
    some, scripts = engine_of(pool, rng, log)
    asked = request(max_tokens=400)
    outcome = Outcome(asked.request_id, [])
    started, leaves_at = time.monotonic(), rng.choice([None] * 9 + [rng.randrange(40)])

    async def read_all():
        async with aclosing(some.stream(asked)) as items:
            async for item in items:
                outcome.items.append(item)
                if len(outcome.items) == leaves_at:
                    return

    task = asyncio.create_task(read_all())
    if rng.random() < 0.2:
        await asyncio.sleep(rng.random() * 0.3)
        task.cancel()
        await asyncio.wait({task})
    else:
        await task
    assert time.monotonic() - started < DEADLINE_S + END_S
    assert all(model.open_sessions == 0 for model in (some.small, *some.large))
    outcome.cancelled = not (outcome.items and isinstance(outcome.items[-1], Completion))
    if not outcome.cancelled:
        outcome.counted = check(some, scripts, outcome.items)
    return outcome


def check(some, scripts, items):
    reply = items[-1]
    assert reply.answer == "Four"
    assert reply.stop_reason == "stop"
    counted = Counter(item.name.rpartition(".")[2] for item in items if isinstance(item, Event))
    assert counted["finished"] == counted["requested"] == len(reply.spans)
    assert sum(span.attempts - 1 for span in reply.spans) == counted["retried"]
    assert reply.degraded is (counted["failed"] == len(some.large))
    assert counted["fell_back"] == counted["failed"]
    for number, whole in enumerate(scripts):
        written = [
            token
            for piece in reply.pieces
            if piece.writer == (Author.LARGE, number)
            for token in piece.token_ids
        ]
        assert written == whole[: len(written)], "a token is lost or doubled"
    return counted


def check_audit(log, outcomes):
    """Check that the log is whole and says of each request what its events said."""
    assert verify(log.path).ok
    records = {}
    for record in read(log.path):
        records.setdefault(record.request_id, []).append(record.kind)
    for outcome in outcomes:
        first, *kinds, last = records.get(outcome.asked, ["request.started", ""])
        seen = [item.name for item in outcome.items if isinstance(item, Event)]
        assert first == "request.started"
        assert kinds[: len(seen)] == seen
        assert outcome.cancelled or kinds == seen
        # A request may be given up just when its end has been recorded and not yet been seen.
        given_up = ("", "request.cancelled") if outcome.cancelled else ()
        assert last in ("request.finished", *given_up)


async def check_servers(pool):
    """Check that nothing is being written, no prompt was wrong and no connection is left over."""
    async with httpx.AsyncClient() as client:
        for url in pool.urls:
            for _ in range(100):
                state = (await client.get(url.replace("/v1", "/state"))).json()
                if not state["active"]:
                    break
                await asyncio.sleep(0.02)
            assert state == {"active": [], "anomalies": []}
    for server in pool.servers:
        taken = (await server._session()).connector._acquired
        assert not taken, taken


@pytest.mark.slow
async def test_every_request_ends_and_adds_up(pool, tmp_path):
    rng, log = random.Random(23), AuditLog(tmp_path / "audit.jsonl")
    killing = asyncio.create_task(pool.kill_again_and_again())
    outcomes = []
    for _ in range(SCHEDULES // AT_ONCE):
        batch = [run(pool, random.Random(rng.random()), log) for _ in range(AT_ONCE)]
        outcomes += await asyncio.gather(*batch)
    killing.cancel()
    await asyncio.wait({killing})
    assert len(outcomes) == SCHEDULES
    counted = sum((outcome.counted for outcome in outcomes), Counter())
    assert sum(outcome.cancelled for outcome in outcomes) > 100
    assert min(counted[name] for name in ("retried", "failed", "fell_back")) > 200
    assert pool.kills > 3
    check_audit(log, outcomes)
    await check_servers(pool)


async def test_an_answer_cut_at_any_byte_loses_and_doubles_nothing(pool):
    rng = random.Random(5)
    written = script(rng, rng.sample(WORDS, len(WORDS)))
    settings = {"small": ScriptedModel(SMALL), "retry": Retry(wait_s=0.0)}
    whole = await SplitEngine(
        large=model_of(pool.servers[:1], rng, written, []), **settings
    ).complete(request())
    assert own_tokens(written)[: whole.large_tokens] == [
        token for piece in whole.pieces if piece.author is Author.LARGE for token in piece.token_ids
    ]

    async def cut(byte):
        faults = [{"kind": rng.choice(["abort", "close"]), "byte": byte}]
        some = model_of(pool.servers[byte % 2 :][:1], rng, written, faults)
        reply = await SplitEngine(large=some, **settings).complete(request())
        assert (reply.pieces, reply.degraded) == (whole.pieces, False)
        return sum(span.attempts for span in reply.spans)

    attempts = []
    for start in range(0, 2500, 100):
        attempts += await asyncio.gather(*(cut(byte) for byte in range(start, start + 100, 5)))
    assert attempts.count(len(whole.spans) + 1) > 200, "most cuts were met"


async def test_a_silent_server_leaves_time_for_an_answer(pool):
    rng = random.Random(6)
    written = script(rng, rng.sample(WORDS, len(WORDS)))
    for byte in (-1, 0, 400):
        some = SplitEngine(
            small=ScriptedModel(SMALL),
            large=model_of(pool.servers[:1], rng, written, [{"kind": "hang", "byte": byte}] * 9),
            policy=Policy(deadline_s=3.0),
        )
        started = time.monotonic()
        reply = await some.complete(request())
        assert time.monotonic() - started < END_S
        assert reply.answer == "Four"


async def test_a_long_wait_asked_for_is_not_waited(pool):
    rng = random.Random(7)
    written = script(rng, rng.sample(WORDS, len(WORDS)))
    busy = {"kind": "status", "status": 429, "headers": {"Retry-After": "3600"}, "body": ""}
    some = SplitEngine(
        small=ScriptedModel(SMALL), large=model_of(pool.servers[:1], rng, written, [busy])
    )
    reply = await asyncio.wait_for(some.complete(request()), END_S)
    assert (reply.degraded, reply.answer) == (True, "Four")


@pytest.mark.parametrize(
    "fault", [{"kind": "hang", "byte": 400}, {"kind": "hang", "byte": -1}, {"kind": "chatter"}]
)
async def test_a_server_that_says_nothing_new_has_failed(pool, fault):
    url = pool.urls[0]
    quick = Server(OpenAIServerModel(url, "x", limits=ServerLimits(read_s=0.3)), url)
    fault = {**fault, "slow_s": 0.02}
    written = script(random.Random(9), [*WORDS])
    session = model_of([quick], random.Random(9), written, [fault] * 9).open(PROMPT)
    started = time.monotonic()
    with pytest.raises(ModelCallError) as failed:
        async for _ in session.write(order(20, stop_tokens=frozenset([CLOSE]))):
            pass
    assert failed.value.retryable
    session.extend(WORDS[:3])
    with pytest.raises(ModelCallError) as failed:
        await chances(session, CLOSE)
    assert failed.value.retryable
    assert time.monotonic() - started < END_S
    session.close()
    await quick._sessions.pop(asyncio.get_running_loop()).session.close()

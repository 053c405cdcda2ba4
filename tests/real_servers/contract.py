"""What holds for the bundled large model behind any real server."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from splitreason_integrations import Always, SplitEngine
from splitreason_integrations.backends.base import End
from splitreason_integrations.doctor import examine_model
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from tests.backends.servers import LARGE, QUESTION, load, order, write
from tests.backends.test_small_server import same
from tests.real_servers.pages import PAGE, block_of, shown, untimed
from tests.real_servers.processor_time import used_until_idle_s

SAID = [{"role": "user", "content": QUESTION}]


def marks_of(server):
    """Return the marks of a module that runs a server, which it names `SERVER`."""
    return [
        pytest.mark.real,
        pytest.mark.skipif(bool(server.lacks()), reason=server.reason),
        pytest.mark.allow_hosts(["127.0.0.1"]),
    ]


def opened(spec):
    """Return a session of a model, its prompt rendered by its own codec."""
    model = load(spec)
    return model.open(model.codec.render(SAID, None))


class RealServerContract:
    """Tests of one real server.

    Attributes:
        server: the server.
        refused: changes of the spec that it refuses, and words of its error.

    """

    server = None
    refused = ({"model": "nobody/nothing"}, "nobody/nothing")

    async def test_what_it_speaks_and_can_do_is_found(self, served):
        model = load(replace(served.spec, name="found"))
        await model.find_dialect(model.replicas.choose())
        assert model.capabilities == self.server.found

    async def test_spans_go_on_behind_the_exact_text(self, served):
        tasks = generated("test", ("word", "context"), n=12, seed=8)
        assert await same(("embedded", served.spec), tasks) > 12

    async def test_many_at_once_write_what_each_writes_alone(self, served):
        here, there = SplitEngine(), SplitEngine(small="embedded", large=served.spec)
        tasks = generated("test", ("word",), n=8, seed=9)
        asked = [Request(messages=one.messages, seed=1, max_tokens=300) for one in tasks]
        mine = [await here.complete(one) for one in asked]
        theirs = await asyncio.gather(*(there.complete(one) for one in asked))
        assert [one.pieces for one in theirs] == [one.pieces for one in mine]

    async def test_a_whole_answer_is_the_one_that_is_written_here(self, served):
        here = SplitEngine(trigger=Always())
        there = SplitEngine(trigger=Always(), small="embedded", large=served.spec)
        for task in generated("test", ("word", "context"), n=6, seed=4):
            asked = Request(messages=task.messages, tools=task.tools, seed=1, max_tokens=300)
            mine, theirs = await here.complete(asked), await there.complete(asked)
            assert theirs.pieces == mine.pieces
            assert (theirs.answer, theirs.degraded) == (mine.answer, False)

    async def test_the_deadline_ends_the_writing_and_keeps_what_came(self, served):
        session = opened(served.spec)
        before = list(session.token_ids)
        # It may not end before, however fast its server is.
        ends = tuple(load(served.spec).codec.end_tokens)
        late_s = time.monotonic() + 0.1
        ids, last = await write(session, order(1500, deadline_s=late_s, forbidden=ends))
        assert last.end is End.DEADLINE
        assert list(session.token_ids) == [*before, *ids]
        assert (await write(session, order(2)))[1].end is End.LENGTH
        session.close()

    async def test_leaving_ends_the_request_on_the_server(self, served):
        session = opened(served.spec)
        ends = tuple(load(served.spec).codec.end_tokens)
        group = (served.behind or served.server).process.pid

        async def time_s(*, leaves):
            before_s = await used_until_idle_s(group)
            for _ in range(4):
                begun = session.length
                async with aclosing(session.write(order(1000, forbidden=ends))) as parts:
                    async for _ in parts:
                        if leaves:
                            break
                session.truncate(begun)
            return await used_until_idle_s(group) - before_s

        whole_s = await time_s(leaves=False)
        assert await time_s(leaves=True) < 0.6 * whole_s
        session.close()

    async def test_what_it_refuses_is_reported_at_once(self, served):
        changes, words = self.refused
        known = {"tokenizer": LARGE, "context_tokens": 2048}
        session = opened(replace(served.spec, **known, **changes))
        with pytest.raises(ModelCallError, match=words) as refused:
            await write(session, order())
        assert not refused.value.retryable
        session.close()

    async def test_the_doctor_finds_nothing_wrong_and_the_page_shows_it(self, served):
        findings = [one async for one in examine_model(served.spec, role="large")]
        assert [one for one in findings if not one.ok] == []
        said = block_of(self.server.name, PAGE.read_text("utf-8"))
        assert untimed(shown(findings, served)) == untimed(said), "run make docs-doctor"

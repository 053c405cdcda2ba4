"""The engine when something goes wrong: deadlines, a failing large model, cancellation."""

import asyncio
import time
from contextlib import aclosing

import pytest

from splitreason_integrations import Always, Never, Policy, Random, SplitEngine, TagClose, blocking
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.events import Event, HandoffFailed
from tests.loop.engine_runs import collect, complete, engine, freed, request


class Slow(HFModel):
    """Takes its time over every pass: the deadline comes before a random model ends its reply."""

    def forward(self, token_ids, cache, *, last):
        time.sleep(0.05)
        return super().forward(token_ids, cache, last=last)


@pytest.mark.parametrize("trigger", [Random(0.1), Always(), Never()], ids=str)
def test_deadline_ends_with_what_there_is(random_pair, trigger):
    pair = tuple(Slow(m.network, m.codec, name="slow") for m in random_pair)
    some = engine(pair, policy=Policy(deadline_s=2.0), trigger=trigger)
    reply = complete(some, request(max_tokens=400))
    assert reply.stop_reason == "deadline"
    assert 0 < reply.tokens < 400
    assert sum(span.tokens for span in reply.spans) == reply.large_tokens


class Failing(HFModel):
    """A large model that fails after some tokens."""

    def __init__(self, model, after):
        super().__init__(model.network, model.codec, name="failing", taught=True)
        self.after = after

    def forward(self, token_ids, cache, *, last):
        if self.after <= 0:
            raise RuntimeError("the machine is gone")
        self.after -= 1
        return super().forward(token_ids, cache, last=last)


@pytest.mark.parametrize("after", [0, 1, 5, 9, 20])
@pytest.mark.parametrize("trigger", [Random(0.2), Always()], ids=str)
def test_small_finishes_where_large_fails(random_pair, after, trigger):
    failing = Failing(random_pair[1], after)
    some = engine((random_pair[0], failing), trigger=trigger, close=TagClose(1.0))
    items, reply = collect(some, request())
    assert reply.degraded
    assert reply.stop_reason in ("length", "stop")
    assert reply.tokens > reply.large_tokens
    assert reply.large_tokens >= min(after, 1)
    names = [item.name for item in items if isinstance(item, Event)]
    assert names.count("splitreason.handoff.failed") == 1
    assert names.count("splitreason.handoff.fell_back") == 1
    assert "gone" not in reply.reasoning + reply.answer
    assert freed((random_pair[0], failing))


class Unreachable(HFModel):
    """Cannot open a session."""

    def open(self, prompt, written=()):
        raise RuntimeError("no route to the machine")


class Vanishing(HFModel):
    """Its session is gone as soon as it has written something."""

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        write = session.write

        async def once(writing_order):
            async with aclosing(write(writing_order)) as slices:
                async for written in slices:
                    yield written
                    session.close()
                    raise RuntimeError("gone")

        session.write = once
        return session


@pytest.mark.parametrize("kind", [Unreachable, Vanishing])
@pytest.mark.parametrize("close", [TagClose(1e-3), TagClose(1)])
def test_small_finishes_where_the_large_session_is_lost(random_pair, kind, close):
    large = kind(random_pair[1].network, random_pair[1].codec, name="lost")
    for trigger in (Random(0.2), Always()):
        some = engine((random_pair[0], large), trigger=trigger, close=close)
        items, reply = collect(some, request())
        assert reply.degraded
        failed = [item for item in items if isinstance(item, HandoffFailed)]
        assert [item.span for item in failed] == [len(reply.spans) - 1]
        assert freed((random_pair[0], large))


def test_failure_can_be_raised(random_pair):
    some = engine(
        (random_pair[0], Failing(random_pair[1], 1)), trigger=Random(0.3), on_large_failure="raise"
    )
    with pytest.raises(LargeModelError, match="the machine is gone"):
        complete(some, request())
    assert freed(random_pair)


class Counting(HFModel):
    """Counts forward passes."""

    passes = 0

    def forward(self, token_ids, cache, *, last):
        self.passes += 1
        return super().forward(token_ids, cache, last=last)


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_stopping_early_frees_both_caches_within_one_step(random_pair, how):
    pair = tuple(Counting(m.network, m.codec, name=f"counting-{m.name}") for m in random_pair)
    some = engine(pair, trigger=Random(0.1))

    async def read(seen):
        async with aclosing(some.stream(request(max_tokens=400))) as items:
            async for item in items:
                seen.append(item)
                if how == "close" and len(seen) > 12:
                    break

    for _ in range(10):
        seen = []
        task = asyncio.create_task(read(seen))
        if how == "cancel":
            await asyncio.sleep(0.02)
            task.cancel()
        await asyncio.wait({task})
        at_end = [model.passes for model in pair]
        await asyncio.sleep(0.05)
        assert all(m.passes - n <= 1 for m, n in zip(pair, at_end, strict=True))
        assert all(model.open_sessions == 0 for model in pair)


def test_closing_the_blocking_stream_frees_both_caches(embedded):
    stream = blocking.iterate(SplitEngine().stream(request(max_tokens=300)))
    next(stream)
    stream.close()
    assert freed(embedded)

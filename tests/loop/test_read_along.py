"""A large model that every request costs is asked once a span, and read along meanwhile."""

import asyncio
from contextlib import aclosing

import pytest

from splitreason_integrations import Policy, SplitEngine
from splitreason_integrations.backends.base import End, Written
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.engine import finished
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.loop import pace
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.writing import TimedWriting, Writing
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import request

SMALL = "Now <bigmodel>It is easy.</think>\nDone."
NUMBERS = " ".join(str(number) for number in range(40))


class Asked(ScriptedModel):
    """Counts what is asked of its sessions, and how far each writing went."""

    def __init__(self, reply, **settings):
        super().__init__(reply, **settings)
        self.orders, self.readings, self.behind = [], [], []

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        write, read = session.write, session.read_facts

        async def writing(order):
            self.orders.append(order)
            before = session.length
            try:
                async with aclosing(write(order)) as parts:
                    async for part in parts:
                        yield part
            finally:
                self.behind.append(session.length - before)

        async def reading(wanted, **asked):
            self.readings.append(asked["last"])
            return await read(wanted, **asked)

        session.write, session.read_facts = writing, reading
        return session


def models(close_at=None, **large):
    """A pair whose small model ends the span behind a text."""
    small = Asked(SMALL, name="s", close_probability=lambda text: float(_ends(text, close_at)))
    settings = {"name": "l", "resumes": False, "delay_s": 0.001, "slice_tokens": 1, **large}
    return small, Asked(NUMBERS + "</bigmodel>", **settings)


def _ends(text, close_at):
    return close_at is not None and text.endswith(f" {close_at}")


async def run(pair, **settings):
    return await finished(
        SplitEngine(small=pair[0], large=pair[1], **settings).stream(request(max_tokens=400))
    )


async def test_one_request_a_span_reads_as_many_would():
    once, often = models(), models(resumes=True)
    replies = [await run(pair) for pair in (once, often)]
    assert replies[0].reasoning == replies[1].reasoning
    assert f"{NUMBERS}It is easy." in replies[0].reasoning
    assert len(once[1].orders) == 1
    assert len(often[1].orders) > 8
    (span,) = replies[0].spans
    assert (span.closed_by, span.surplus_tokens) == ("large", 0)


@pytest.mark.parametrize("close_at", [1, 3, 11, 25, 39])
@pytest.mark.parametrize("slice_tokens", [1, 5, 64])
async def test_what_was_written_behind_the_end_is_dropped_and_counted(close_at, slice_tokens):
    pair = models(close_at, slice_tokens=slice_tokens)
    reply = await run(pair)
    (span,) = reply.spans
    assert span.text == " ".join(str(number) for number in range(close_at + 1))
    assert f"{span.text}It is easy." in reply.reasoning
    assert span.closed_by == "small"
    assert pair[1].behind == [span.tokens + span.surplus_tokens]
    assert reply.large_tokens == span.tokens
    assert len(pair[1].orders) == 1


async def test_the_large_model_is_stopped_where_the_small_one_finds_the_end():
    pair = models(3, delay_s=0.003)
    reply = await run(pair)
    assert reply.spans[0].surplus_tokens < 40
    assert pair[1].behind[0] < 60


async def test_a_busy_small_model_reads_seldom(monkeypatch):
    pair = models(delay_s=0.001)
    busy = Handback.read

    async def slow(self, chunk, ended_by, *, is_last):
        await asyncio.sleep(0.05)
        return await busy(self, chunk, ended_by, is_last=is_last)

    quick = await run(models(delay_s=0.001))
    monkeypatch.setattr(Handback, "read", slow)
    reply = await run(pair)
    assert reply.reasoning == quick.reasoning
    assert len(pair[0].readings) <= 3


@pytest.mark.parametrize("cap", [{"max_span_tokens": 20}, {"max_large_tokens": 20}], ids=str)
async def test_caps_hold_what_is_dropped_included(cap):
    pair = models(3, delay_s=0.0)
    reply = await run(pair, policy=Policy(**cap))
    assert pair[1].behind[0] <= 20
    assert reply.spans[0].text == "0 1 2 3"
    pair = models()
    reply = await run(pair, policy=Policy(**cap))
    assert reply.spans[0].tokens == 20


@pytest.mark.parametrize("after", [1, 7, 8, 9, 30])
async def test_a_failing_large_model_goes_on_where_it_was(after, monkeypatch):
    # Only the first chunk and the rest are read, so that the failure comes before the span's end
    # is found, however fast this machine is.
    monkeypatch.setattr(pace, "_TIMES_ITS_LENGTH", 1e9)
    pair = models(fail_after=after, error=ConnectionError("gone"))
    reply = await run(
        pair, retry=Retry(attempts=200, wait_s=0.0, max_wait_s=0.0, breaker_failures=200)
    )
    assert f"{NUMBERS}It is easy." in reply.reasoning
    assert not reply.degraded
    pair = models(11, fail_after=after, error=ValueError("gone"))
    reply = await run(pair)
    kept = min(after, reply.spans[0].tokens)
    assert (reply.spans[0].tokens, reply.degraded) == (kept, True)
    assert NUMBERS.startswith(reply.spans[0].text)


async def test_a_failing_small_model_is_not_taken_for_the_large_one(monkeypatch):
    async def broken(self, chunk, ended_by, *, is_last):
        raise ModelCallError("the small model is gone", retryable=True)

    monkeypatch.setattr(Handback, "read", broken)
    pair = models()
    with pytest.raises(ModelCallError, match="the small model is gone"):
        await run(pair)
    assert all(model.open_sessions == 0 for model in pair)


@pytest.mark.parametrize("caps", [{"max_span_s": 0.05}, {"deadline_s": 1.5}], ids=str)
async def test_a_large_model_does_not_fail_where_its_reader_is_slow(caps):
    small, large = models()
    seen = []
    async with aclosing(
        SplitEngine(small=small, large=large, policy=Policy(**caps)).stream(request(max_tokens=400))
    ) as items:
        async for item in items:
            if not seen and getattr(item, "author", None) == "large":
                await asyncio.sleep(1.1)
                seen.append(item)
    (span,) = item.spans
    assert span.closed_by in ("max_span_s", "deadline")
    assert not item.degraded


@pytest.mark.parametrize("how", ["close", "cancel"])
@pytest.mark.parametrize("at", [1, 5, 9, 30])
async def test_leaving_in_mid_span_leaves_nothing_at_work(how, at):
    pair = models(delay_s=0.002)
    before = asyncio.all_tasks()

    async def read():
        async with aclosing(
            SplitEngine(small=pair[0], large=pair[1]).stream(request(max_tokens=400))
        ) as items:
            async for item in items:
                if how == "close" and "large" in str(getattr(item, "author", "")):
                    return

    task = asyncio.create_task(read())
    if how == "cancel":
        await asyncio.sleep(0.004 * at)
        task.cancel()
    await asyncio.wait({task})
    assert all(model.open_sessions == 0 for model in pair)
    assert asyncio.all_tasks() == before


async def _parts(*parts):
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


async def followed(parts, ended_by):
    """Return what is kept of a writing that nobody reads along, and the writing itself."""
    timed = TimedWriting(_parts(*parts), model="large", stall_s=None, until_s=None)
    writing, found = Writing(timed, ended_by), []
    while (checked := await writing.next()) is not None:
        found.append(checked)
    await writing.aclose()
    return found, writing


async def test_without_anyone_reading_tokens_are_kept_as_they_come():
    parts = Written((1, 2)), Written((3,)), Written((4,), End.STOP_TOKEN, 9)
    found, _ = await followed(parts, lambda last: last.end.name)
    assert [one.token_ids for one in found] == [(1, 2), (3,), (4,), ()]
    assert found[-1].closed_by == "STOP_TOKEN"
    found, writing = await followed((Written((1, 2)), ConnectionError("gone")), lambda last: None)
    assert [one.token_ids for one in found] == [(1, 2), ()]
    assert (str(writing.failure), writing.surplus) == ("gone", 0)


class Recovering(ScriptedModel):
    """Fails after so many tokens of every writing, not of every session."""

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        write = session.write

        async def writing(order):
            session._written = 0
            async with aclosing(write(order)) as parts:
                async for part in parts:
                    yield part

        session.write = writing
        return session


@pytest.mark.parametrize("after", [1, 2, 5, 8])
async def test_a_small_model_whose_server_fails_writes_on(after):
    error = ModelCallError("the server is gone", retryable=True)
    small = ScriptedModel(SMALL, name="s", fail_after=after, error=error, slice_tokens=2)
    large = ScriptedModel(NUMBERS + "</bigmodel>", name="l")
    with pytest.raises(ModelCallError, match="the server is gone"):
        await run((small, large), retry=Retry(attempts=1))
    small = Recovering(SMALL, name="s", fail_after=after, error=error, slice_tokens=2)
    reply = await run((small, large), retry=Retry(attempts=2, wait_s=0.0, max_wait_s=0.0))
    assert f"Now {NUMBERS}It is easy." in reply.reasoning
    assert reply.answer == "Done."


async def test_a_reading_that_fails_is_made_again(monkeypatch):
    (small, large), failures = models(3), iter([True, False, True, True, False])
    opened = small.open

    def open_failing(prompt, written=()):
        session = opened(prompt, written)
        reading = session.read_facts

        async def failing(wanted, **asked):
            if next(failures, False):
                raise ModelCallError("the server is gone", retryable=True)
            return await reading(wanted, **asked)

        session.read_facts = failing
        return session

    monkeypatch.setattr(small, "open", open_failing)
    reply = await run((small, large), retry=Retry(wait_s=0.0, max_wait_s=0.0))
    assert reply.spans[0].text == "0 1 2 3"

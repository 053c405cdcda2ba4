"""Counts what the large model of a pair does: chunks that it reads, tokens that it writes."""

from contextlib import aclosing

import pytest

from splitreason_integrations import (
    Agrees,
    Disagreement,
    ModelTerms,
    Policy,
    Prices,
    Request,
    SplitEngine,
)
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.loop.large_reader import LargeReader

NEVER = Disagreement(0.0)
"""Reads along like any other threshold, and opens no span: no probability is below 0."""


class LargeWork:
    """What the sessions of a loaded model are asked for.

    Attributes:
        chunks: chunks of the small model's text that the loop gave it to read.
        readings: how many tokens each reading had pending.
        writings: how often it was asked to write.
        written: tokens that it wrote, those that were dropped included.
        doing: what it does now: "reads", "writes" or None.

    """

    def __init__(self, model, monkeypatch):
        self.chunks, self.readings, self.writings, self.written = 0, [], 0, 0
        self.doing = None
        self._open, self._read_chunk = model.open, LargeReader.read
        if model.taught is None:
            # So that no probe finds out: its replies are no part of the work.
            monkeypatch.setattr(model, "taught", True)
        monkeypatch.setattr(model, "open", self._opened)
        monkeypatch.setattr(LargeReader, "read", self._counted())

    def check(self, replies):
        """Assert that it wrote in spans alone, and read a chunk at a time, as replies report."""
        spans = [span for reply in replies for span in reply.spans]
        surplus = sum(span.surplus_tokens for span in spans)
        kept = sum(reply.large_tokens for reply in replies)
        assert self.written == kept + surplus
        assert (self.writings > 0) is (spans != [])
        assert len(self.readings) == self.chunks > len(replies)
        assert sum(reply.read_ahead_tokens for reply in replies) == sum(self.readings)
        for reply in replies:
            said = reply.facts()["reading"]
            assert said["large_tokens"] == reply.read_ahead_tokens > reply.small_tokens
            assert said["cost_usd"] * 1e6 == pytest.approx(reply.read_ahead_tokens)

    def _counted(self):
        read_chunk = self._read_chunk

        async def read(reader, chunk, *more, **asked):
            self.chunks += len(chunk) > 0
            return await read_chunk(reader, chunk, *more, **asked)

        return read

    def _opened(self, *given):
        session = self._open(*given)
        write, read = session.write, session.read_facts

        async def writing(order):
            self.doing, before = "writes", session.length
            self.writings += 1
            try:
                async with aclosing(write(order)) as parts:
                    async for part in parts:
                        yield part
            finally:
                self.written += session.length - before
                self.doing = None

        async def reading(wanted, **asked):
            self.doing = "reads"
            self.readings.append(session.unread)
            try:
                return await read(wanted, **asked)
            finally:
                self.doing = None

        session.write, session.read_facts = writing, reading
        return session


async def disagreeing(small, large, trigger, *, seed=8):
    """Return the replies of a pair whose large model reads along, at a USD per million tokens."""
    terms = ModelTerms(prices=Prices(input_usd=1.0))
    engine = SplitEngine(
        small=small,
        large=large,
        trigger=trigger,
        close=Agrees(),
        policy=Policy(models={"*": terms}),
        telemetry=None,
    )
    tasks = generated("test", ("word", "context"), n=4, seed=seed)
    asked = [Request(messages=task.messages, seed=1, max_tokens=300) for task in tasks]
    return [await engine.complete(one) for one in asked]

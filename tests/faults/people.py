"""Reviewers who misbehave, and forked processes."""

import asyncio
import threading
import time
from collections import Counter

from splitreason_integrations import HumanCheck, Policy, SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.testing import ScriptedModel
from tests import test_fork
from tests.faults.engines import jumping_clock
from tests.faults.kind import Kind
from tests.limits import END_S
from tests.loop.engine_runs import complete, request
from tests.reviews.review_runs import LARGE, SMALL

REQUESTS = 10
FORKS = 3


class ReviewerFailedError(Exception):
    """What a reviewer raises."""


class Reviewers(Kind):
    """Reviewers who raise, hang, say nonsense or answer late; nothing leaves unapproved."""

    name = "reviewers"

    def round(self, rng, folder):
        """Ask some reviewers, one request each."""
        with jumping_clock(rng):
            return sum((_reviewed(rng) for _ in range(REQUESTS)), Counter())


def _reviewed(rng):
    approved, asked = [], []
    ways = [rng.choice(["approve", "refuse", "raise", "hang", "nonsense"]) for _ in range(3)]

    async def review(question):
        way = ways[min(len(asked), 2)]
        asked.append(question.id)
        if way == "hang":
            await asyncio.sleep(3600)
        if way == "raise":
            raise ReviewerFailedError
        approved.extend([question.id] if way == "approve" else [])
        return {"nonsense": rng.choice(["aprove", 7, {}, [], "\x1b[2J"])}.get(way, way)

    small, large = ScriptedModel(SMALL), Opened(LARGE)
    check = HumanCheck(reviewer=review, timeout_s=0.05, on_timeout="refuse")
    engine = SplitEngine(small=small, large=large, human_check=check)
    try:
        reply = complete(engine, request(max_tokens=400))
        assert reply.answer == "Five"
        assert len(reply.spans) == len(approved)
    except (ReviewerFailedError, ConfigurationError):
        assert {"raise", "nonsense"} & set(ways), "an error of nobody"
    assert large.writes == len(approved), "the large model wrote what nobody approved"
    assert len(set(asked)) == len(asked), "a question was asked twice"
    assert small.open_sessions == large.open_sessions == 0, "a cache is left"
    return Counter(requests=1, faults=sum(way not in ("approve", "refuse") for way in ways))


class Opened(ScriptedModel):
    """Counts the spans that it is asked to write."""

    writes = 0

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        write = session.write

        def counted(order):
            self.writes += 1
            return write(order)

        session.write = counted
        return session


class Forks(Kind):
    """Processes forked while requests run: the child answers, the parent goes on."""

    name = "forks"

    def round(self, rng, folder):
        """Fork several times while a thread asks."""
        small, large = test_fork.scripted_pair()
        small.delay_s = 0.001
        engine = SplitEngine(small=small, large=large, policy=Policy(deadline_s=END_S))
        wanted, answers, ended = complete(engine, request()).answer, [], threading.Event()

        def ask():
            while not ended.is_set():
                answers.append(complete(engine, request()).answer)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(FORKS):
                time.sleep(rng.random() * 0.05)
                answer = test_fork.in_child(lambda: complete(engine, request()).answer)
                assert answer == wanted, "the child answers otherwise"
        finally:
            ended.set()
            asking.join(END_S)
        assert not asking.is_alive(), "the parent hangs"
        assert set(answers) <= {wanted}, "the parent answers otherwise"
        return Counter(requests=len(answers) + FORKS, forks=FORKS)

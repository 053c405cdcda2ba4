"""What a request emits is seen before whatever may take long, once, and however it goes on."""

import pytest

from splitreason_integrations import Policy, SplitEngine
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import Always, Tag
from splitreason_integrations.humans.human import Answer, HumanCheck
from splitreason_integrations.testing import ScriptedModel, ScriptedSession
from tests.loop.engine_runs import request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

TEXT = "I add 3 and 4.<bigmodel> So it is.</think>\n\nSeven."
SPAN = " the sum is 7.</bigmodel>"
LATER = {"reviewer": lambda question: None}
APPROVE = Answer(decision="approve")


def small(**more):
    return ScriptedModel(TEXT, name="small", **more)


def large(**more):
    return ScriptedModel(SPAN, name="large", **more)


def names(items):
    return [item.name.removeprefix("splitreason.") for item in items if hasattr(item, "name")]


class Watched(ScriptedModel):
    """A scripted model that notes when a writing was read to its end, and when it was closed."""

    def __init__(self, reply, log, **more):
        super().__init__(reply, slice_tokens=1, **more)
        self.log = log

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        self.sessions.discard(session)
        session.__class__ = WatchedSession
        self.sessions.add(session)
        return session


class WatchedSession(ScriptedSession):
    """Counts a thousand more tokens read where a writing was read to its end, as a server does."""

    async def write(self, order):
        try:
            async for written in super().write(order):
                yield written
            self.read += 1000
        finally:
            self._model.log.append("closed")


async def test_what_a_server_counts_at_the_end_of_an_answer_is_paid_for():
    log = []
    few, many = small(), Watched(TEXT, log, name="small", prices=Prices(input_usd=1e6))
    plain = await SplitEngine(small=few, large=large()).complete(request())
    reply = await SplitEngine(small=many, large=large()).complete(request())
    assert reply.pieces == plain.pieces
    # Two writings, one before the span and one after it.
    assert reply.cost_usd > 2000


@pytest.mark.parametrize("trigger", [Tag(), Always()], ids=str)
async def test_a_reply_that_is_stopped_is_seen_before_its_model_stops(trigger):
    log = []
    writer = large() if trigger == Tag() else Watched(TEXT, log, name="large")
    engine = SplitEngine(small=Watched(TEXT, log, name="small"), large=writer, trigger=trigger)
    async for item in engine.stream(request(stop=["n."])):
        log += ["shown"] if getattr(item, "token_ids", ()) else []
    assert log[-2:] == ["shown", "closed"]


async def test_a_cap_is_reported_once_however_often_the_request_pauses():
    check = HumanCheck(**LATER, before=None, after=AskRule())
    policy = Policy(max_large_tokens=2, min_span_tokens=1)
    engine = SplitEngine(small=small(), large=large(), human_check=check, policy=policy)
    *before, paused = [item async for item in engine.stream(request())]
    after = [item async for item in engine.resume(paused, APPROVE)]
    assert names([*before, *after]).count("budget.exhausted") == 1


@pytest.mark.parametrize("decision", ["approve", "refuse"])
async def test_a_pause_loses_no_failure_of_a_large_model(decision):
    larges = ["http://127.0.0.1:9/v1#paused", large()]
    engine = SplitEngine(small=small(), large=larges, human_check=HumanCheck(**LATER))
    *before, paused = [item async for item in engine.stream(request())]
    answer = Answer(decision=decision)
    after = [item async for item in engine.resume(paused, answer)]
    assert names(before) == [
        "handoff.requested",
        "handoff.failed",
        "handoff.fell_back",
        "human.asked",
    ]
    assert "handoff.failed" not in names(after)
    assert after[-1].answer == "Seven."

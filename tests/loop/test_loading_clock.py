"""The clock of loading after a pause, and within a span."""

import asyncio
import time
from dataclasses import dataclass, replace

import pytest

from splitreason_integrations import Policy, SplitEngine
from splitreason_integrations.backends import registry
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.errors import ModelLoadError, ModelUnreachableError
from splitreason_integrations.humans.human import Answer, HumanCheck
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import request

TEXT = "I add 3 and 4.<bigmodel> So it is.</think>\n\nSeven."


def small():
    return ScriptedModel(TEXT, name="small")


def large(text=" the sum is 7.</bigmodel>", **more):
    return ScriptedModel(text, name="large", **more)


@dataclass(frozen=True)
class Served(ModelDescription):
    """A model on a server that takes a moment to connect to."""

    number: int
    on_server = True

    @property
    def label(self):
        return f"served {self.number}"

    def load(self):
        time.sleep(0.3)
        return large()


async def test_a_pause_near_the_deadline_can_be_resumed_where_servers_are_not_connected():
    check = HumanCheck(reviewer=lambda question: None)
    policy = Policy(deadline_s=30.0)
    engine = SplitEngine(small=small(), large=large(), human_check=check, policy=policy)
    *_, paused = [item async for item in engine.stream(request())]
    late = replace(paused, state={**paused.state, "elapsed_s": 29.9}, signature=None)
    elsewhere = SplitEngine(small=small(), large=Served(1), policy=policy)
    try:
        reply = await elsewhere.finish(late, Answer(decision="approve"))
    except ModelUnreachableError as error:
        pytest.fail(f"the person's answer is lost: {error}")
    assert reply.stop_reason == "deadline"
    assert reply.reasoning == "I add 3 and 4."


async def test_local_weights_that_cannot_be_loaded_take_none_of_a_spans_time(monkeypatch):
    load = registry.load_model

    async def loading(spec, *, role, **within):
        if spec == "hf:/broken":
            await asyncio.sleep(2.2)
            raise ModelLoadError("the weights are broken")
        return await load(spec, role=role, **within)

    monkeypatch.setattr("splitreason_integrations.loop.loading.load_model", loading)
    larges = [large(fail_after=1), "hf:/broken", large(" sum is 7.</bigmodel>")]
    engine = SplitEngine(small=small(), large=larges, policy=Policy(deadline_s=4.0))
    reply = await engine.complete(request())
    assert (reply.degraded, reply.spans[0].text) == (False, " the sum is 7.")
    assert reply.loading_s >= 2.2

"""What `bench servers` counts of an answer on two servers."""

from dataclasses import replace

import pytest

from splitreason_integrations import Request, SplitEngine
from splitreason_integrations.evals import servers
from splitreason_integrations.evals.tasks import generated
from tests.backends.servers import load, serving_pair

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
DRAFTS = 4
"""How many requests an answer may differ by: whether drafts are in time varies."""


async def test_what_models_know_of_the_tags_is_not_asked_again_for_an_answer():
    (task,) = generated("test", ("word",), n=1, seed=12)
    with serving_pair() as specs:
        probed = tuple(load(spec) for spec in specs)
        taught = tuple(load(replace(spec, taught=True)) for spec in specs)
        await SplitEngine(small=probed[0], large=probed[1]).complete(
            Request(messages=task.messages, seed=0, max_tokens=300)
        )
        (_, first), (_, second) = [
            await servers._ours(models, task, {}) for models in (probed, taught)
        ]
    assert first.text == second.text
    assert first.requests <= second.requests + DRAFTS

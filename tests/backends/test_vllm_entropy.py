"""Entropy and confidence on vLLM against `hf:`, position by position; `make test-vllm` runs these.

vLLM gives the 20 likeliest tokens at a place. Their entropy, the rest r counted as one token, is
never above the true one, and below it by at most r * ln(V - 20) nats, with V tokens in all.
"""

import pytest

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.embedded import path
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from tests.backends.small_models_notes import check_alike

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore"),
]
REPLIES = 50


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("vllm") / "small.log"
    with vllm_server(path("small"), log, name="small") as running:
        running.wait()
        yield OpenAIServerModel(running.url, "small")


@pytest.fixture(params=["in process", "server"])
def small(request):
    if request.param == "server":
        return request.getfixturevalue("server")
    pytest.importorskip("vllm", reason="make test-vllm builds vLLM's environment")
    return f"vllm:{path('small')}"


async def test_both_are_those_of_the_model_here_at_every_position(small, embedded, record_property):
    network = embedded[0].network
    await check_alike(small, network, replies=REPLIES, record_property=record_property)

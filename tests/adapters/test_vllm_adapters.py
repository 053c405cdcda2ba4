"""Both frameworks over two real vLLM servers: LangChain's standard suite, and typed agents."""

import pytest
from langchain_core._api import LangChainBetaWarning

from splitreason_integrations import OpenAIServerModel, embedded
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from tests.adapters.test_langchain_standard import TestEmbeddedIntegration as EmbeddedIntegration
from tests.adapters.typed_agents import check_langgraph, check_llama_index, reads_deprecated

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings(f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Arguments of a chat model whose models are on servers."""
    logs = tmp_path_factory.mktemp("vllm")
    with (
        vllm_server(embedded.path("small"), logs / "small.log", name="small") as small,
        vllm_server(embedded.path("large"), logs / "large.log", name="large") as large,
    ):
        small.wait()
        large.wait()
        yield {
            "small": OpenAIServerModel(small.url, "small"),
            "large": OpenAIServerModel(large.url, "large"),
        }


class TestOnServers(EmbeddedIntegration):
    @pytest.fixture(autouse=True)
    def servers(self, pair):
        type(self).pair = pair

    @pytest.fixture
    def model(self, servers, request):
        """The suite's model, made once its servers run."""
        extra = getattr(request, "param", None) or {}
        params = {**self.standard_chat_model_params, **self.chat_model_params, **extra}
        return self.chat_model_class(**params)

    @property
    def chat_model_params(self):
        return {**self.pair, "seed": 1}

    @property
    def supports_model_override(self):
        # A model named in a call has to be one of this process: the suite for those has this test.
        return False


def test_a_typed_agent_of_langgraph_does_what_it_does_here(pair, record_property):
    check_langgraph(pair, record_property)


@reads_deprecated
async def test_a_typed_agent_of_llama_index_does_what_it_does_here(pair, record_property):
    await check_llama_index(pair, record_property)

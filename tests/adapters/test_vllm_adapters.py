"""Both frameworks over two real vLLM servers: LangChain's standard suite, and typed agents."""

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core._api import LangChainBetaWarning
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent
from pydantic import BaseModel, Field

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import OpenAIServerModel, embedded
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from tests.adapters.frameworks import calculator, sums
from tests.adapters.test_langchain_standard import TestEmbeddedIntegration as EmbeddedIntegration

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings(f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"),
]
ALIKE = 22
"""Of 24 cases: an answer's last digit may depend on how numbers were added up."""


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


class Result(BaseModel):
    """The result of a calculation."""

    number: int = Field(ge=0, le=9999)


def note(text: str) -> str:
    """Keep a note for later."""
    return f"kept: {text}"


def called_in_langgraph(models, case):
    """Return what an agent said and called, and its typed result."""
    llm = SplitReasonLLM(**models, seed=1, max_tokens=400)
    tools = [tool(calculator), tool(note)]
    agent = create_agent(llm, tools, response_format=ProviderStrategy(Result))
    state = agent.invoke({"messages": [("user", case.question)]})
    said = [(one.type, one.content, _calls(one)) for one in state["messages"]]
    return said, state["structured_response"]


def _calls(message):
    return [(call["name"], call["args"]) for call in getattr(message, "tool_calls", ())]


async def called_in_llama_index(models, case):
    llm = LlamaIndexLLM(**models, seed=1, max_tokens=400)
    agent = FunctionAgent(tools=[calculator, note], llm=llm, output_cls=Result)
    response = await agent.run(case.question)
    calls = [(call.tool_name, call.tool_kwargs) for call in response.tool_calls]
    return str(response), calls, response.structured_response


def test_a_typed_agent_of_langgraph_does_what_it_does_here(pair, record_property):
    alike = 0
    for case in sums():
        here = called_in_langgraph({}, case)
        there = called_in_langgraph(pair, case)
        assert isinstance(there[1], Result)
        assert [kind for kind, *_ in there[0]] == ["human", "ai", "tool", "ai"]
        alike += here == there
    record_property("rate", f"a typed agent of LangGraph: {alike} of {len(sums())} as with hf:")
    assert alike >= ALIKE


# LlamaIndex reads deprecated attributes of its agents, which newer versions of pydantic report.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_typed_agent_of_llama_index_does_what_it_does_here(pair, record_property):
    alike = right = 0
    for case in sums():
        here = await called_in_llama_index({}, case)
        there = await called_in_llama_index(pair, case)
        alike += here == there
        right += str(case.answer) in there[0]
    record_property("rate", f"a typed agent of LlamaIndex: {alike} of {len(sums())} as with hf:")
    assert alike >= ALIKE
    assert right >= ALIKE

"""The embedded pair in LlamaIndex's engines and agents: the answers are right."""

import gc

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.memory import Memory

from llama_index.llms.splitreason import SplitReasonLLM
from tests.frameworks import CALCULATOR, check_rate, dossiers, embedding, sums

pytestmark = [
    pytest.mark.timeout(300),
    # LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]


@pytest.fixture(scope="module")
def llm():
    return SplitReasonLLM(seed=1, max_tokens=400)


def index_of(case):
    documents = [Document(text=fact) for fact in case.facts]
    return VectorStoreIndex.from_documents(documents, embed_model=embedding())


@pytest.mark.parametrize("mode", ["compact", "tree_summarize", "simple_summarize"])
def test_a_query_engine(llm, mode, record_property):
    answers = []
    for case in dossiers():
        engine = index_of(case).as_query_engine(
            llm, similarity_top_k=len(case.facts), response_mode=mode
        )
        answers.append(str(engine.query(case.question)))
    check_rate(record_property, dossiers, answers)


# The memory's synchronous methods leave event loops unclosed.
@pytest.mark.xfail(reason="the pair never read a greeting before a question over facts: 19 of 24")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_chat_engine_with_memory(llm, record_property):
    answers = []
    for case in dossiers():
        engine = index_of(case).as_chat_engine(
            "context", llm=llm, similarity_top_k=len(case.facts), memory=Memory.from_defaults()
        )
        engine.chat("Hello!")
        answers.append(str(engine.chat(case.question)))
        assert len(engine.chat_history) == 4
    gc.collect()
    check_rate(record_property, dossiers, answers)


async def test_an_agent_with_a_calculator(llm, record_property):
    agent = FunctionAgent(tools=list(CALCULATOR), llm=llm)
    answers = []
    for case in sums():
        running = agent.run(case.question)
        events = [event async for event in running.stream_events()]
        called = [event for event in events if isinstance(event, ToolCallResult)]
        answers.append(str(await running) if len(called) == 1 else "")
    check_rate(record_property, sums, answers, has_bare_prompt=False)

"""The embedded pair in LlamaIndex's engines and agents: the answers are right."""

import asyncio
import gc
import re

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.memory import Memory
from llama_index.core.query_engine import CitationQueryEngine, RouterQueryEngine
from llama_index.core.tools import QueryEngineTool
from sqlalchemy.ext.asyncio import create_async_engine

from llama_index.llms.splitreason import SplitReasonLLM
from tests.adapters.frameworks import TOPICS, calculator, check_rate, dossiers, embedding, sums

pytestmark = [
    # LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def llm():
    return SplitReasonLLM(seed=1, max_tokens=400)


def index_of(case):
    documents = [Document(text=fact) for fact in case.facts]
    return VectorStoreIndex.from_documents(documents, embed_model=embedding())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["compact", "tree_summarize", "simple_summarize"])
def test_a_query_engine(llm, mode, record_property):
    answers = []
    for case in dossiers():
        engine = index_of(case).as_query_engine(
            llm, similarity_top_k=len(case.facts), response_mode=mode
        )
        answers.append(str(engine.query(case.question)))
    check_rate(record_property, dossiers, answers)


@pytest.mark.slow
def test_a_citation_query_engine(llm, record_property):
    answers, cited = [], 0
    for case in dossiers():
        engine = CitationQueryEngine.from_args(
            index_of(case), llm=llm, similarity_top_k=len(case.facts)
        )
        response = engine.query(case.question)
        answers.append(str(response))
        sources = [node.node.get_content() for node in response.source_nodes]
        numbers = [int(number) for number in re.findall(r"\[(\d+)\]", str(response))]
        assert all(1 <= number <= len(sources) for number in numbers), str(response)
        used = {
            at for at, text in enumerate(sources, 1) if text.partition("\n")[2].strip() in case.used
        }
        cited += set(numbers) == used
    record_property("rate", f"{cited} of {len(answers)} cite just the sources that they use")
    check_rate(record_property, dossiers, answers)


@pytest.mark.slow
def test_a_router_query_engine(llm, record_property):
    """One engine for each topic; the router has to find the one that knows the facts."""
    cases = dossiers()
    answers, chosen = [], 0
    for case in cases:
        known = {one.topic: one for one in (*cases, case)}
        offered = [
            QueryEngineTool.from_defaults(
                index_of(known[topic]).as_query_engine(llm, similarity_top_k=9),
                name=topic,
                description=description,
            )
            for topic, description in TOPICS.items()
        ]
        response = RouterQueryEngine.from_defaults(offered, llm=llm).query(case.question)
        answers.append(str(response))
        (selection,) = response.metadata["selector_result"].selections
        chosen += offered[selection.index].metadata.name == case.topic
    record_property("rate", f"{chosen} of {len(answers)} went to the right engine")
    check_rate(record_property, dossiers, answers)


# The memory's synchronous methods leave event loops unclosed.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_chat_engine_with_memory(llm, record_property):
    answers = []
    for case in dossiers():
        database = create_async_engine("sqlite+aiosqlite:///:memory:")
        memory = Memory.from_defaults(async_engine=database)
        engine = index_of(case).as_chat_engine(
            "context", llm=llm, similarity_top_k=len(case.facts), memory=memory
        )
        engine.chat("Hello!")
        answers.append(str(engine.chat(case.question)))
        assert len(engine.chat_history) == 4
        asyncio.run(database.dispose())
    gc.collect()
    check_rate(record_property, dossiers, answers)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FunctionAgent, ReActAgent])
async def test_an_agent_with_a_calculator(llm, kind, record_property):
    agent = kind(tools=[calculator], llm=llm)
    answers = []
    for case in sums():
        running = agent.run(case.question)
        events = [event async for event in running.stream_events()]
        called = [event for event in events if isinstance(event, ToolCallResult)]
        answers.append(str(await running) if len(called) == 1 else "")
    check_rate(record_property, sums, answers, has_bare_prompt=False)

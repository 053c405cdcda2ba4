"""The embedded pair in LangChain's chains and agents: the answers are right."""

import pytest
from langchain.agents import create_agent
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.chains.question_answering.stuff_prompt import CHAT_PROMPT
from langchain_classic.chains.retrieval import create_retrieval_chain
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.embeddings import Embeddings
from langchain_core.exceptions import ModelConnectionError
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.frameworks import calculator, check_rate, dossiers, embedding, stories, sums


@pytest.fixture(scope="module")
def llm():
    return SplitReasonLLM(seed=1, max_tokens=400)


def asked_each(runnable, draw):
    return [runnable.invoke({"question": case.question}) for case in draw()]


@pytest.mark.slow
def test_a_chain(llm, record_property):
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    check_rate(record_property, stories, asked_each(prompt | llm | StrOutputParser(), stories))


class MiniLM(Embeddings):
    """LlamaIndex's embedding for LangChain."""

    def embed_documents(self, texts):
        return embedding().get_text_embedding_batch(texts)

    def embed_query(self, text):
        return embedding().get_query_embedding(text)


@pytest.mark.slow
def test_a_retrieval_chain(llm, record_property):
    answers = []
    for case in dossiers():
        store = InMemoryVectorStore.from_texts(list(case.facts), MiniLM())
        retriever = store.as_retriever(search_kwargs={"k": len(case.facts)})
        chain = create_retrieval_chain(retriever, create_stuff_documents_chain(llm, CHAT_PROMPT))
        answers.append(chain.invoke({"input": case.question, "question": case.question})["answer"])
    check_rate(record_property, dossiers, answers)


@pytest.mark.slow
def test_fallbacks(llm, record_property):
    broken = SplitReasonLLM(
        small=ScriptedModel("x", error=RuntimeError("gone"), fail_after=0),
        large=ScriptedModel("x"),
    )
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    chain = prompt | broken.with_fallbacks([llm]) | StrOutputParser()
    check_rate(record_property, stories, asked_each(chain, stories))


@pytest.mark.slow
def test_retries(llm, record_property):
    failed = set()

    def flaky(prompt):
        text = prompt.to_string()
        if text not in failed:
            failed.add(text)
            raise ModelConnectionError("try again")
        return llm.invoke(prompt)

    retried = RunnableLambda(flaky).with_retry(
        retry_if_exception_type=(ModelConnectionError,), wait_exponential_jitter=False
    )
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    answers = asked_each(prompt | retried | StrOutputParser(), stories)
    assert len(failed) == len(answers)
    check_rate(record_property, stories, answers)


# Deprecated for LangGraph's persistence, and still in wide use.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::langchain_core._api.deprecation.LangChainDeprecationWarning")
def test_message_histories(llm, record_property):
    histories = {}
    prompt = ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history"), ("human", "{question}")]
    )
    chain = RunnableWithMessageHistory(
        prompt | llm | StrOutputParser(),
        lambda session_id: histories.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="question",
        history_messages_key="history",
    )
    answers = []
    for number, case in enumerate(stories()):
        config = {"configurable": {"session_id": str(number // 2)}}
        answers.append(chain.invoke({"question": case.question}, config))
    assert all(len(one.messages) == 4 for one in histories.values())
    check_rate(record_property, stories, answers)


def test_an_agent_with_a_calculator(llm, record_property):
    agent = create_agent(llm, [tool(calculator)])
    answers = []
    for case in sums():
        messages = agent.invoke({"messages": [("user", case.question)]})["messages"]
        called = [message.type for message in messages] == ["human", "ai", "tool", "ai"]
        answers.append(messages[-1].content if called else "")
    check_rate(record_property, sums, answers, has_bare_prompt=False)

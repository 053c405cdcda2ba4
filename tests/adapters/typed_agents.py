"""Agents of both frameworks with tools and a typed answer: alike on servers and here."""

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent
from pydantic import BaseModel, Field

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from tests.adapters.frameworks import calculator, sums

ALIKE = 22
"""Of 24 cases: an answer's last digit may depend on how numbers were added up."""

reads_deprecated = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""LlamaIndex reads deprecated attributes of its agents, which newer versions of pydantic report."""


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


def check_langgraph(models, record_property):
    """Check that an agent of LangGraph does with models on servers what it does here."""
    alike = 0
    for case in sums():
        here = called_in_langgraph({}, case)
        there = called_in_langgraph(models, case)
        assert isinstance(there[1], Result)
        assert [kind for kind, *_ in there[0]] == ["human", "ai", "tool", "ai"]
        alike += here == there
    record_property("rate", f"a typed agent of LangGraph: {alike} of {len(sums())} as with hf:")
    assert alike >= ALIKE


async def check_llama_index(models, record_property):
    """Check that an agent of LlamaIndex does with models on servers what it does here."""
    alike = right = 0
    for case in sums():
        here = await called_in_llama_index({}, case)
        there = await called_in_llama_index(models, case)
        alike += here == there
        right += str(case.answer) in there[0]
    record_property("rate", f"a typed agent of LlamaIndex: {alike} of {len(sums())} as with hf:")
    assert alike >= ALIKE
    assert right >= ALIKE

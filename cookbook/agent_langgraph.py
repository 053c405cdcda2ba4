"""A LangGraph agent with a calculator: the small model calls the tool and reads its result.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_splitreason import SplitReasonLLM


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


agent = create_agent(SplitReasonLLM(seed=1), [multiply])
state = agent.invoke({"messages": [("user", "What is 47*23?")]})
for message in state["messages"]:
    message.pretty_print()

"""LlamaIndex's model over the bundled pair: complete, stream, an agent with a tool."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from modules import import_all
from questions import NUMBER, PRODUCT, WORDS, multiply

from llama_index.llms.splitreason import SplitReasonLLM


async def ask_an_agent(llm: SplitReasonLLM) -> None:
    """Have an agent multiply with its tool."""
    running = FunctionAgent(tools=[multiply], llm=llm).run(PRODUCT)
    results = [
        event async for event in running.stream_events() if isinstance(event, ToolCallResult)
    ]
    assert [result.tool_output.raw_output for result in results] == [1081], results
    assert "1081" in str(await running)


def main() -> None:
    """Complete, stream, and ask an agent."""
    llm = SplitReasonLLM(seed=1)
    reply = llm.complete(WORDS)
    assert NUMBER in reply.text, reply
    *_, last = llm.stream_complete(WORDS)
    assert last.text == reply.text
    asyncio.run(ask_an_agent(llm))
    import_all(without={"phonenumbers", "langchain_core", "opentelemetry", "trl", "datasets"})


if __name__ == "__main__":
    main()

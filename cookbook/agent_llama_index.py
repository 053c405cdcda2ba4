"""A LlamaIndex agent with a calculator, its events streamed.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult

from llama_index.llms.splitreason import SplitReasonLLM


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    """Ask, show the call, show the answer."""
    agent = FunctionAgent(tools=[multiply], llm=SplitReasonLLM(seed=1))
    running = agent.run("What is 47*23?")
    async for event in running.stream_events():
        if isinstance(event, ToolCallResult):
            print(f"  {event.tool_name}({event.tool_kwargs}) returned {event.tool_output}")
    print(await running)


asyncio.run(main())

"""LangChain's chat model over two servers, no torch: invoke, stream, a tool call."""

import sys

from modules import import_all
from questions import NUMBER, PRODUCT, WORDS, multiply

from langchain_splitreason import SplitReasonLLM


def main(small: str, large: str) -> None:
    """Ask, stream and call a tool."""
    llm = SplitReasonLLM(small=f"{small}#large", large=f"{large}#large")
    reply = llm.invoke(WORDS)
    assert NUMBER in reply.content, reply
    assert "".join(chunk.text for chunk in llm.stream(WORDS)) == reply.content
    called = llm.bind_tools([multiply]).invoke(PRODUCT)
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [
        ("multiply", {"a": 47, "b": 23})
    ]
    import_all(without={"langchain", "torch", "phonenumbers", "llama_index.core", "opentelemetry"})


if __name__ == "__main__":
    main(*sys.argv[1:])

"""LangChain's chat model over the bundled pair: invoke, structured output, the command."""

import subprocess
import sys
from pathlib import Path

from modules import import_all
from pydantic import BaseModel
from questions import NUMBER, WORDS

from langchain_splitreason import SplitReasonLLM


class Stock(BaseModel):
    """What is in stock."""

    number: int


def main() -> None:
    """Ask the pair, hold an answer to a class, and run the demonstration."""
    llm = SplitReasonLLM()
    reply = llm.invoke(WORDS)
    assert NUMBER in reply.content, reply
    assert reply.response_metadata["splitreason"]["spans"]
    found = llm.with_structured_output(Stock).invoke(WORDS)
    assert isinstance(found, Stock), found
    command = Path(sys.executable).with_name("splitreason")
    demo = [command, "demo", "--problems", "1", "--eval-problems", "4", "--seed", "1"]
    subprocess.run(demo, check=True, stdout=subprocess.DEVNULL)
    import_all(
        without={
            "langchain",
            "phonenumbers",
            "llama_index.core",
            "opentelemetry",
            "trl",
            "datasets",
        }
    )


if __name__ == "__main__":
    main()

"""The bundled large model on vLLM, in the environment of `make test-vllm`, from the wheel."""

import asyncio

from modules import import_all
from questions import NUMBER, WORDS

from splitreason_integrations import Request, SplitEngine, VLLMModel
from splitreason_integrations.embedded import path


def main() -> None:
    """Answer with the large model on vLLM."""
    engine = SplitEngine(small="embedded", large=VLLMModel(str(path("large"))))
    messages = [{"role": "user", "content": WORDS}]
    whole = asyncio.run(engine.complete(Request(messages=messages, max_tokens=300)))
    assert NUMBER in whole.answer, whole
    import_all(without=set())


if __name__ == "__main__":
    main()

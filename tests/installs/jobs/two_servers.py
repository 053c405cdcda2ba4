"""Two models on servers, no torch: answer, stream, call a tool, audit; the command too."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

from modules import import_all
from questions import MULTIPLY, NUMBER, PRODUCT, WORDS

from splitreason_integrations import AuditLog, Completion, Delta, Request, SplitEngine
from splitreason_integrations.audit import verify
from splitreason_integrations.errors import MissingExtraError
from splitreason_integrations.testing import ScriptedModel

EXTRAS = {
    *("torch", "phonenumbers", "langchain_core", "llama_index.core", "langgraph", "opentelemetry"),
    *("matplotlib", "datasets", "math_verify", "trl", "vllm"),
}


def asked(text: str, **more: object) -> Request:
    """Return a request of one message."""
    return Request(messages=[{"role": "user", "content": text}], max_tokens=400, **more)


async def use(small: str, large: str) -> None:
    """Use a pair on servers in every way that a service does."""
    engine = SplitEngine(small=small, large=large, audit=AuditLog("audit.jsonl"))
    whole = await engine.complete(asked(WORDS))
    assert NUMBER in whole.answer, whole
    assert whole.spans
    async with aclosing(engine.stream(asked(WORDS))) as items:
        streamed = [item async for item in items]
    assert streamed[-1].answer == whole.answer
    assert isinstance(streamed[-1], Completion)
    deltas = [item for item in streamed if isinstance(item, Delta)]
    assert {item.author for item in deltas} == {"small", "large"}
    assert "".join(item.text for item in deltas if item.channel == "answer") == whole.answer
    called = await engine.complete(asked(PRODUCT, tools=[MULTIPLY]))
    assert [call.name for call in called.tool_calls] == ["multiply"], called
    assert called.tool_calls[0].arguments == {"a": 47, "b": 23}
    checked = verify(Path("audit.jsonl"))
    assert checked.ok
    assert checked.records > 10
    scripted = SplitEngine(small=ScriptedModel("</think>Hello."), large=ScriptedModel("x"))
    assert (await scripted.complete(asked("Hello"))).answer == "Hello."


def refusal() -> str:
    """Return what is said to who asks for the embedded pair."""
    try:
        asyncio.run(SplitEngine().complete(asked("Hello")))
    except MissingExtraError as error:
        return str(error)
    return "nothing"


def main(small: str, large: str) -> None:
    """Do all of it, and see that a model of this process is refused by the name of its extra."""
    asyncio.run(use(f"{small}#large", f"{large}#large"))
    said = refusal()
    assert "splitreason-integrations[local]" in said, said
    command = [Path(sys.executable).with_name("splitreason")]
    pair = ["--small", f"{small}#large", "--large", f"{large}#large"]
    done = subprocess.run(
        [*command, "ask", WORDS, *pair], check=True, capture_output=True, text=True
    )
    assert NUMBER in done.stdout, done
    assert "PyTorch" not in done.stderr, done
    subprocess.run([*command, "policy", "list"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "--version"], check=True)
    import_all(without=EXTRAS)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Shared by the annotation tests: trace files, and a chat model that quotes from them."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from splitreason_integrations import blocking
from splitreason_integrations.annotation.llm import Asking, LLMAnnotator
from splitreason_integrations.annotation.run import Settings, annotate
from splitreason_integrations.annotation.sources import JsonLines


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def numbered(n):
    """Traces in which the sentence to quote says which row it is."""
    return [
        {"id": at, "question": f"What is {at}?", "trace": f"I look. Hard {at} here. Done {at}."}
        for at in range(n)
    ]


def read_rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def run(source, annotator, out, settings=None, **options):
    """Annotate a file in this process."""
    lines = JsonLines(source)
    return blocking.run(lambda: annotate(lines, annotator, out, settings or Settings(), **options))


class Quoting(BaseChatModel):
    """Quotes the hard sentence of each numbered trace, and notes each call in a file."""

    log: Path
    delay_s: float = 0.0
    usage: bool = True
    fails: Any = None
    reply: str = '```json\n{{"snippets": ["Hard {0} here."]}}\n```'

    @property
    def _llm_type(self):
        return "quoting"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        raise AssertionError("annotators ask without blocking")

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        prompt = messages[-1].content
        found = re.search(r"Hard (\d+) here", prompt)
        number = int(found[1]) if found else -1
        with self.log.open("a") as file:
            file.write(f"{number}\n")
        # Replies come out of order.
        await asyncio.sleep(self.delay_s * (1 + number % 3))
        if self.fails is not None and self.fails(number):
            raise RuntimeError(f"no answer for {number}")
        message = AIMessage(self.reply.format(number))
        if self.usage:
            message.usage_metadata = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def calls(self):
        """The rows that it was asked about."""
        return [int(one) for one in self.log.read_text().split()] if self.log.exists() else []


def main(source, out, log, delay_s):
    """Annotate in a process of its own, which may be killed."""
    model = Quoting(log=Path(log), delay_s=float(delay_s))
    run(Path(source), LLMAnnotator(model, asking=Asking(concurrency=3)), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])

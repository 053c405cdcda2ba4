"""Starts the test servers as processes, and names and asks them."""

import subprocess
import sys
from contextlib import aclosing, contextmanager
from pathlib import Path

from splitreason_integrations import OpenAIServerModel, Sampling, blocking
from splitreason_integrations.backends.base import Wanted, WriteOrder
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.embedded import path
from splitreason_integrations.testing import embedded_codec

ROOT = Path(__file__).parents[2]
GREEDY = Sampling(temperature=0.0)
LARGE = str(path("large"))
QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
NOWHERE = "http://127.0.0.1:9/v1"


@contextmanager
def serving(module, *arguments):
    """Run a server of the tests; give its process and the address of its API."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.backends.{module}", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = process.stdout.readline().strip()
        assert port, "the server did not start"
        yield process, f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def spec(url, **more):
    return OpenAIServerModel(url, "large", **{"tokenizer": LARGE, **more})


@contextmanager
def serving_pair():
    """Run the embedded pair on two servers; give the specs of the small and the large model."""
    with (
        serving("completions_server", "embedded:small") as (_, small),
        serving("completions_server", "embedded:large") as (_, large),
    ):
        yield spec(small), spec(large)


def load(some_spec):
    return blocking.run(lambda: load_model(some_spec, role="large"))


def order(max_tokens=8, **more):
    settings = {"sampling": GREEDY, "seed": 1, "stream": 1, "stop_tokens": frozenset(), **more}
    return WriteOrder(max_tokens=max_tokens, **settings)


async def write(session, writing):
    ids, end = [], None
    async with aclosing(session.write(writing)) as parts:
        async for written in parts:
            ids += written.token_ids
            end = written
    return ids, end


def prompt():
    messages = [{"role": "user", "content": QUESTION}]
    return embedded_codec().render(messages, None).token_ids


async def chances(session, token, **more):
    """Return P(`token`) behind each token that a session reads."""
    facts = await session.read_facts(Wanted(probability_of=token), **more)
    return [one.next_probability for one in facts]

"""What begins every text of a model is read once, whether server and client both add it or not."""

import pytest
from transformers import AutoTokenizer

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.backends.base import Wanted
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.replicas import Replicas
from tests.backends.raw_server import RawServer, Reply, json_reply
from tests.backends.servers import LARGE, order, write
from tests.backends.test_server_streams import DONE, closed, sse

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

BEGIN = "<s>"
TEMPLATE = (
    BEGIN + "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture(scope="module")
def codec():
    tokenizer = AutoTokenizer.from_pretrained(LARGE)
    tokenizer.add_special_tokens({"bos_token": BEGIN})
    tokenizer.chat_template = TEMPLATE
    return TokenizerCodec(tokenizer, name="m")


class Completions:
    """A server of text that may put the beginning before each prompt, as some do."""

    def __init__(self, codec, *, adds, counts=True):
        self.codec, self.adds, self.counts = codec, adds, counts
        self.read = []

    def __call__(self, path, body):
        prompts = body.get("prompt")
        if path != "/completions" or not isinstance(prompts, str | list):
            return json_reply(404, {"error": {"message": "no such route"}})
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts[0], str):
            return json_reply(400, {"error": {"message": "prompt must be a string"}})
        read = [BEGIN * self.adds + prompt for prompt in prompts]
        self.read += read
        top = {"logprobs": {"top_logprobs": [{"x": -0.5}]}}
        events = [
            sse({"choices": [{"text": "x", "index": at, "finish_reason": "length", **top}]})
            for at in range(len(read))
        ]
        tokens = len(self.codec._tokenizer.encode(read[0], add_special_tokens=False))
        usage = {"choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}
        return Reply((*events, sse(usage) if self.counts else b"", DONE))


def model_at(url, codec, speaks):
    spec = OpenAIServerModel(url, "m")
    size = {"vocabulary": 1025, "context_tokens": 2048, "taught": True}
    return ServerModel(
        Replicas([Server(spec, url)]), codec, model="m", name="m", speaks=speaks, **size
    )


async def read_by(completions, speaks):
    """Write and read along; return how often each prompt that was read had the beginning."""
    codec, server = completions.codec, RawServer(completions)
    async with server.serving() as url:
        model = model_at(url, codec, speaks)
        assert (await model.find_dialect(model.replicas.choose())).name == "text"
        asked = len(completions.read)
        session = model.open(codec.render([{"role": "user", "content": "Hello"}], None))
        await write(session, order(1))
        session.extend(codec.encode(" a b"))
        token = codec.encode("x")[-1]
        await session.read_facts(Wanted(probability_of=token), last=2)
        session.close()
        await closed(model)
    return [text.count(BEGIN) for text in completions.read[asked:]]


@pytest.mark.parametrize("speaks", [None, "text"])
@pytest.mark.parametrize("adds", [True, False])
async def test_the_beginning_is_read_once_in_writing_and_in_scoring(codec, adds, speaks):
    counted = await read_by(Completions(codec, adds=adds), speaks)
    assert counted == [1] * 3


async def test_a_server_that_counts_nothing_is_sent_the_whole_prompt(codec):
    assert await read_by(Completions(codec, adds=False, counts=False), None) == [1] * 3


async def test_a_model_without_a_beginning_is_asked_nothing_more(codec, other_codec):
    completions = Completions(other_codec, adds=True)
    async with RawServer(completions).serving() as url:
        model = model_at(url, other_codec, "text")
        assert model.dialect is not None, "nothing is left to be found"
    assert completions.read == []

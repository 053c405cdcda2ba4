"""A thousand typed answers and two hundred forced calls, on vLLM here and on vLLM's server."""

import asyncio
import shutil
from importlib.util import find_spec

import pytest

from splitreason_integrations import (
    Never,
    OpenAIServerModel,
    Random,
    SplitEngine,
    TagClose,
    VLLMModel,
    embedded,
)
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from tests.backends.test_server_forms import asked, check
from tests.conftest import random_network
from tests.text.schemas import SCHEMAS
from tests.text.test_grammar import TOOLS

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_thread"),
]
ANSWERS = 17
"""For each schema and pair of models: with thirty schemas and two pairs a thousand."""
CALLS = 100
AT_ONCE = 16


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folders of a pair that never learned anything, and answers without reasoning."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for seed, folder in enumerate(folders, 1):
        shutil.copytree(embedded.path("small"), folder, dirs_exist_ok=True)
        template = folder / "chat_template.jinja"
        template.write_text(
            template.read_text("utf-8").replace(r"assistant\n<think>\n", r"assistant\n"), "utf-8"
        )
        random_network(1024, seed).save_pretrained(folder)
    return folders


PLACES = [(place, models) for place in ("here", "server") for models in ("random", "bundled")]


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def pair(request, weights, one_thread, tmp_path_factory):
    """The specs of two random models or of the bundled pair, here or on servers."""
    place, models = request.param
    folders = weights if models == "random" else [embedded.path("small"), embedded.path("large")]
    if place == "here":
        if not find_spec("vllm"):
            pytest.skip("vLLM is not installed in this environment")
        yield [VLLMModel(str(folder), taught=True) for folder in folders]
        return
    logs = tmp_path_factory.mktemp("vllm")
    with (
        vllm_server(folders[0], logs / "small.log", name="small") as small,
        vllm_server(folders[1], logs / "large.log", name="large") as large,
    ):
        small.wait()
        large.wait()
        yield [
            OpenAIServerModel(small.url, "small", taught=True),
            OpenAIServerModel(large.url, "large", taught=True),
        ]


def engines(pair):
    """Return engines without spans, and with spans that begin in the answer too."""
    spans = {"trigger": Random(0.05), "close": TagClose(0.02)}
    settings = ({"trigger": Never()}, {"trigger": Never()}, {"trigger": Never()}, spans)
    return [SplitEngine(small=pair[0], large=pair[1], **one) for one in settings]


async def answered(pair, forms):
    """Return how many replies were cut off; all others fit their form."""
    some, limit, cut = engines(pair), asyncio.Semaphore(AT_ONCE), 0

    async def one(number, form):
        nonlocal cut
        async with limit:
            reply = await some[number % len(some)].complete(asked(number, **form))
        if reply.stop_reason == "length":
            cut += 1
        else:
            check(reply, form)

    await asyncio.gather(*(one(number, form) for number, form in enumerate(forms)))
    return cut


async def test_answers_fit_their_schemas(pair, record_property):
    forms = [{"response_schema": one} for one in SCHEMAS.values() for _ in range(ANSWERS)]
    cut = await answered(pair, forms)
    record_property("rate", f"{len(forms)} typed answers, {cut} cut off and said so, 0 invalid")
    assert cut < len(forms) / 2


async def test_forced_calls_are_whole(pair, record_property):
    forms = [{"tools": TOOLS, "must_call": True}] * CALLS
    cut = await answered(pair, forms)
    record_property("rate", f"{len(forms)} forced calls, {cut} cut off, 0 invalid")
    assert cut < len(forms) / 2

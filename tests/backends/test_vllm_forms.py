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
"""For each schema and each pair of models: with thirty schemas and two pairs a thousand."""
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


@pytest.fixture(scope="module", params=["here", "server"])
def pairs(request, weights, one_thread, tmp_path_factory):
    """The specs of random models and of the bundled pair, here or on servers."""
    folders = [*weights, embedded.path("small"), embedded.path("large")]
    if request.param == "here":
        if not find_spec("vllm"):
            pytest.skip("vLLM is not installed in this environment")
        yield [VLLMModel(str(folder), taught=True) for folder in folders]
        return
    logs = tmp_path_factory.mktemp("vllm")
    names = ("first", "second", "small", "large")
    servers = [
        vllm_server(folder, logs / f"{name}.log", name=name)
        for folder, name in zip(folders, names, strict=True)
    ]
    with servers[0] as first, servers[1] as second, servers[2] as small, servers[3] as large:
        for one in (first, second, small, large):
            one.wait()
        yield [
            OpenAIServerModel(one.url, name, taught=True)
            for one, name in zip((first, second, small, large), names, strict=True)
        ]


def engines(pairs):
    """Return engines of random models and of the bundled pair, with and without spans."""
    spans = {"trigger": Random(0.05), "close": TagClose(0.02)}
    return [
        SplitEngine(small=small, large=large, **settings)
        for small, large in (pairs[:2], pairs[2:])
        for settings in ({"trigger": Never()}, spans)
    ]


async def answered(pairs, forms):
    """Return how many replies were cut off; all others fit their form."""
    some, limit, cut = engines(pairs), asyncio.Semaphore(AT_ONCE), 0

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


async def test_a_thousand_answers_fit_their_schemas(pairs, record_property):
    forms = [{"response_schema": one} for one in SCHEMAS.values() for _ in range(2 * ANSWERS)]
    cut = await answered(pairs, forms)
    record_property("rate", f"{len(forms)} typed answers, {cut} cut off and said so, 0 invalid")
    assert len(forms) >= 1000
    assert cut < len(forms) / 2


async def test_two_hundred_forced_calls_are_whole(pairs, record_property):
    forms = [{"tools": TOOLS, "must_call": True}] * (2 * CALLS)
    cut = await answered(pairs, forms)
    record_property("rate", f"{len(forms)} forced calls, {cut} cut off, 0 invalid")
    assert cut < len(forms) / 2

"""Typed answers and forced calls of a large model behind vLLM's chats."""

import pytest

from splitreason_integrations import Always, OpenAIServerModel, SplitEngine, embedded
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from splitreason_integrations.records import Author
from tests.backends.test_server_forms import asked, check
from tests.text.schemas import SCHEMAS
from tests.text.test_grammar import TOOLS

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore"),
]
FORMS = [
    *({"response_schema": one} for one in SCHEMAS.values()),
    *[{"tools": TOOLS, "must_call": True}] * 10,
    *[{"tools": TOOLS[:1], "must_call": True}] * 10,
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    logs = tmp_path_factory.mktemp("vllm")
    with vllm_server(embedded.path("large"), logs / "large.log", name="large") as large:
        large.wait()
        chat = OpenAIServerModel(large.url, "large", dialect="continue", taught=True)
        yield SplitEngine(trigger=Always(), small="embedded", large=chat)


async def test_whoever_writes_an_answer_it_fits(engine, record_property):
    """The tiny model may fill its answer with white space, which vLLM's JSON lets come."""
    replies = [await engine.complete(asked(at, **form)) for at, form in enumerate(FORMS)]
    alone = cut = 0
    for reply, form in zip(replies, FORMS, strict=True):
        if reply.stop_reason == "length":
            cut += 1
        else:
            check(reply, form)
        alone += not reply.degraded and {one.author for one in reply.pieces} == {Author.LARGE}
    said = f"{len(replies)} typed answers, {alone} of vLLM's chats alone, {cut} cut off"
    record_property("rate", said)
    assert cut < len(replies) / 2
